//! The alphabet of byte-level vocabularies: 256 printable characters, one for each byte.
//!
//! Printable bytes of Latin-1 stand for themselves; the other 68 are the characters from U+0100 on, in order.
//!
//! Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019 (the GPT-2
//! vocabulary).

/// Appends the bytes that `text` spells. A character outside of the alphabet stands for its own UTF-8 bytes.
pub(super) fn spell(text: &str, bytes: &mut Vec<u8>) {
    for character in text.chars() {
        match byte_of(character) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

fn byte_of(character: char) -> Option<u8> {
    match u32::from(character) {
        code @ (0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF) => Some(code as u8),
        code @ 0x100..=0x120 => Some((code - 0x100) as u8),
        code @ 0x121..=0x142 => Some((code - 0x121 + 0x7F) as u8),
        0x143 => Some(0xAD),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    #[test]
    fn every_byte_has_exactly_one_character_of_the_alphabet() {
        let alphabet = ByteLevel::alphabet();
        let mut bytes: Vec<u8> = alphabet.iter().filter_map(|&character| byte_of(character)).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(byte_of('Ġ'), Some(b' '));
        assert_eq!(byte_of('Ċ'), Some(b'\n'));
        assert_eq!(byte_of('語'), None);
    }
}
