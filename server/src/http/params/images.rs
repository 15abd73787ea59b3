//! Pictures in messages: data URLs in base64, of the formats that models read.
//!
//! Nothing is ever fetched: a server that opens addresses of its clients' choice can be made to ask machines that only
//! it can reach. What a picture is, its first bytes say, whatever the client calls it.

use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use spillway_types::{Image, ImageFormat};

use crate::http::request_error::RequestError;

/// Largest picture, decoded.
const MAX_IMAGE_BYTES: usize = 8 << 20;
/// Bytes at the beginning that tell any of the formats.
const MAGIC_BYTES: usize = 12;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The picture of a data URL. `path` is that of the URL in the request.
pub(super) fn image(url: &str, path: impl Fn() -> String) -> Result<Image, RequestError> {
    let invalid = |what: String| {
        let param = path();
        let message = format!("`{param}` {what}");
        RequestError::invalid(param, message)
    };
    let encoded = encoded(url).map_err(|what| invalid(what.to_owned()))?;
    let too_large = |num_bytes: usize| {
        invalid(format!("holds a picture of {num_bytes} bytes, limit {MAX_IMAGE_BYTES}: send a smaller one"))
    };
    // Before anything is decoded. Four letters are at least one byte and at most three.
    let at_least = (encoded.len() / 4).saturating_sub(1) * 3;
    if at_least > MAX_IMAGE_BYTES {
        return Err(too_large(at_least));
    }
    let bytes = BASE64.decode(encoded).map_err(|error| invalid(format!("is not base64: {error}")))?;
    if bytes.len() > MAX_IMAGE_BYTES {
        return Err(too_large(bytes.len()));
    }
    let format = format(&bytes).ok_or_else(|| {
        invalid("holds no picture that can be read: must be PNG, JPEG, GIF or WebP".to_owned())
    })?;
    Ok(Image { format, bytes: Arc::from(bytes) })
}

/// The base64 of a data URL, or what the URL is instead.
fn encoded(url: &str) -> Result<&str, &'static str> {
    let starts_with =
        |scheme: &str| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    if starts_with("http:") || starts_with("https:") {
        return Err("is an address, and this server fetches nothing: send the picture itself as a data URL");
    }
    if !starts_with("data:") {
        return Err("is no data URL: send `data:image/png;base64,` and the picture in base64");
    }
    let (head, data) = url.split_once(',').ok_or("is a data URL without a comma before its data")?;
    let is_base64 = head.rsplit(';').next().is_some_and(|last| last.eq_ignore_ascii_case("base64"));
    if is_base64 {
        Ok(data)
    } else {
        Err("is a data URL that is not in base64: encode it so, and say `;base64`")
    }
}

/// What the first bytes say that a picture is.
fn format(bytes: &[u8]) -> Option<ImageFormat> {
    let start = &bytes[..bytes.len().min(MAGIC_BYTES)];
    match start {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(ImageFormat::Png),
        [0xff, 0xd8, 0xff, ..] => Some(ImageFormat::Jpeg),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(ImageFormat::Gif),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P'] => Some(ImageFormat::Webp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTS: [(&[u8], ImageFormat); 4] = [
        (b"\x89PNG\r\n\x1a\n....", ImageFormat::Png),
        (b"\xff\xd8\xff\xe0", ImageFormat::Jpeg),
        (b"GIF89a", ImageFormat::Gif),
        (b"RIFF\0\0\0\0WEBPVP8 ", ImageFormat::Webp),
    ];

    fn read(url: &str) -> Result<Image, String> {
        image(url, || "url".to_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_picture_is_what_its_bytes_say_with_or_without_padding() {
        for (bytes, format) in STARTS {
            let encoded = BASE64.encode(bytes);
            for data in [encoded.as_str(), encoded.trim_end_matches('=')] {
                let found = read(&format!("DATA:image/bmp;Base64,{data}")).expect("it is a picture");
                assert_eq!((found.format, &*found.bytes), (format, bytes));
            }
        }
    }

    #[test]
    fn what_is_no_picture_is_refused_with_how_to_mend_it() {
        for (url, part) in [
            ("https://example.com/a.png", "this server fetches nothing"),
            ("HTTP://169.254.169.254/", "this server fetches nothing"),
            ("file:///etc/passwd", "is no data URL"),
            ("data:image/png;base64", "without a comma"),
            ("data:image/png,%89PNG", "not in base64"),
            ("data:image/png;base64,iV*R", "is not base64"),
            ("data:image/png;base64,", "must be PNG, JPEG, GIF or WebP"),
            ("data:image/svg+xml;base64,PHN2Zz48L3N2Zz4=", "must be PNG, JPEG, GIF or WebP"),
        ] {
            let message = read(url).expect_err("it is no picture");
            assert!(message.starts_with("`url` ") && message.contains(part), "{url}: {message}");
        }
    }

    #[test]
    fn a_picture_over_the_limit_is_refused_by_its_size() {
        for num_bytes in [MAX_IMAGE_BYTES + 1, 2 * MAX_IMAGE_BYTES] {
            let url = format!("data:;base64,{}", BASE64.encode(vec![0; num_bytes]));
            let message = read(&url).expect_err("it is too large");
            assert!(message.contains("limit 8388608"), "{message}");
        }
    }
}
