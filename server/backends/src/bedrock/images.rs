//! Pictures of a message among its text, within Bedrock's limits.

use aws_sdk_bedrockruntime::primitives::Blob;
use aws_sdk_bedrockruntime::types::{ImageBlock, ImageFormat as WireFormat, ImageSource};
use spillway_types::{ChatMessage, Image, ImageFormat};

use super::fault::Refusal;

/// Most pictures in one turn.
pub(super) const MAX_IMAGES: usize = 20;
/// The largest picture: 3.75 MB, as Bedrock has it.
const MAX_IMAGE_BYTES: usize = 3_932_160;

/// A piece of a message, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Text that is not blank.
    Text(&'a str),
    /// A picture.
    Image(&'a Image),
}

/// A message's text and pictures, in order. Blank text is left out: Bedrock refuses it, and it says nothing.
pub(super) fn pieces(message: &ChatMessage) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut from = 0;
    let mut push_text = |pieces: &mut Vec<_>, to: usize| {
        let text = message.content.get(from..to).unwrap_or_default();
        if !text.trim().is_empty() {
            pieces.push(Piece::Text(text));
        }
        from = to.max(from);
    };
    for placed in &message.images {
        push_text(&mut pieces, placed.offset);
        pieces.push(Piece::Image(&placed.image));
    }
    push_text(&mut pieces, message.content.len());
    pieces
}

/// A picture as Bedrock takes it, under the format that its bytes have.
pub(super) fn block(image: &Image) -> Result<ImageBlock, Refusal> {
    if image.bytes.len() > MAX_IMAGE_BYTES {
        let message =
            format!("a picture has {} bytes, limit {MAX_IMAGE_BYTES}: send a smaller one", image.bytes.len());
        return Err(Refusal::new("messages", message));
    }
    let format = match image.format {
        ImageFormat::Png => WireFormat::Png,
        ImageFormat::Jpeg => WireFormat::Jpeg,
        ImageFormat::Gif => WireFormat::Gif,
        ImageFormat::Webp => WireFormat::Webp,
    };
    let source = ImageSource::Bytes(Blob::new(&*image.bytes));
    Ok(ImageBlock::builder().format(format).source(source).build().expect("its format is set"))
}

#[cfg(test)]
mod tests {
    use spillway_types::{PlacedImage, Role};

    use super::*;

    fn image(num_bytes: usize) -> Image {
        Image { format: ImageFormat::Webp, bytes: vec![0; num_bytes].into() }
    }

    #[test]
    fn pictures_stand_where_the_client_put_them() {
        let picture = image(3);
        let placed = |offset| PlacedImage { offset, image: picture.clone() };
        let message = ChatMessage {
            images: vec![placed(0), placed(4), placed(8)],
            ..ChatMessage::new(Role::User, "left \n  ")
        };
        let (image, text) = (Piece::Image(&picture), Piece::Text("left"));
        assert_eq!(pieces(&message), [image, text, image, image]);
    }

    #[test]
    fn a_picture_beyond_the_limit_is_refused_with_its_size() {
        assert!(block(&image(MAX_IMAGE_BYTES)).is_ok());
        let refusal = block(&image(MAX_IMAGE_BYTES + 1)).expect_err("too large");
        assert_eq!(refusal.message, "a picture has 3932161 bytes, limit 3932160: send a smaller one");
    }
}
