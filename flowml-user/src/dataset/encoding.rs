//! Detects the encoding of text tables, and decodes them to UTF-8.

use std::fs::File;
use std::io::{self, BufReader, Error, ErrorKind, Read};
use std::path::Path;

/// A character encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8.
    Utf8,
    /// UTF-16, little-endian. Excel calls it Unicode text.
    Utf16Le,
    /// UTF-16, big-endian.
    Utf16Be,
    /// Windows code page 1252, Western European.
    Windows1252,
    /// ISO 8859-1.
    Latin1,
}

/// The characters of Windows-1252 from 0x80 to 0x9F; all others are those of ISO 8859-1. Undefined positions become the
/// control character of the same number, as in browsers.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// The byte order mark with which a Unicode file may begin.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Number of bytes examined to find UTF-16 without a byte order mark.
const HEAD: u64 = 4096;

/// Number of bytes read at once.
const CHUNK: usize = 1 << 16;

impl Encoding {
    /// All encodings.
    pub const ALL: [Self; 5] = [Self::Utf8, Self::Utf16Le, Self::Utf16Be, Self::Windows1252, Self::Latin1];

    /// The name, as used in options.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Utf16Le => "utf-16le",
            Self::Utf16Be => "utf-16be",
            Self::Windows1252 => "windows-1252",
            Self::Latin1 => "latin1",
        }
    }

    /// The encoding of this name, ignoring case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|own| own.name().eq_ignore_ascii_case(name))
    }

    /// The encoding that the first bytes of a file indicate. Without a byte order mark, UTF-16 is recognised by the
    /// zero bytes of its ASCII characters, which no other encoding has.
    fn of_head(head: &[u8]) -> Option<Self> {
        match head {
            [0xef, 0xbb, 0xbf, ..] => return Some(Self::Utf8),
            [0xff, 0xfe, ..] => return Some(Self::Utf16Le),
            [0xfe, 0xff, ..] => return Some(Self::Utf16Be),
            _ => {}
        }
        let zeros = |from: usize| head.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count();
        match [zeros(0), zeros(1)] {
            [0, odd] if 4 * odd > head.len() => Some(Self::Utf16Le),
            [even, 0] if 4 * even > head.len() => Some(Self::Utf16Be),
            _ => None,
        }
    }

    /// The encoding of a file. A file that is not UTF-8 is taken for Windows-1252, the encoding of Excel and of older
    /// data sets. In that case the offset of the first byte that is not UTF-8 is returned, too.
    pub(super) fn of(path: &Path) -> io::Result<(Self, Option<u64>)> {
        let mut head = Vec::new();
        File::open(path)?.take(HEAD).read_to_end(&mut head)?;
        if let Some(encoding) = Self::of_head(&head) {
            return Ok((encoding, None));
        }
        let wrong = first_not_utf8(File::open(path)?)?;
        Ok(if wrong.is_some() { (Self::Windows1252, wrong) } else { (Self::Utf8, None) })
    }

    /// The character of a byte, in a single-byte encoding.
    fn character(self, byte: u8) -> char {
        match byte {
            0x80..=0x9f if self == Self::Windows1252 => WINDOWS_1252[usize::from(byte - 0x80)],
            _ => char::from(byte),
        }
    }
}

/// The offset of the first byte that is not UTF-8.
fn first_not_utf8(mut file: impl Read) -> io::Result<Option<u64>> {
    let (mut bytes, mut kept, mut offset) = (vec![0; CHUNK], 0, 0);
    loop {
        let read = file.read(&mut bytes[kept..])?;
        let all = &bytes[..kept + read];
        let (valid, is_wrong) = match std::str::from_utf8(all) {
            Ok(_) => (all.len(), false),
            // A character may continue in the next chunk.
            Err(error) => (error.valid_up_to(), error.error_len().is_some() || read == 0),
        };
        offset += valid as u64;
        if is_wrong {
            return Ok(Some(offset));
        }
        if read == 0 {
            return Ok(None);
        }
        kept = all.len() - valid;
        bytes.copy_within(valid..valid + kept, 0);
    }
}

/// Reads a file as UTF-8, without its byte order mark.
pub(super) struct Decoded {
    bytes: BufReader<File>,
    encoding: Encoding,
    /// Decoded text that was not yet returned.
    text: String,
    given: usize,
    is_begin: bool,
}

impl Decoded {
    /// Opens a file with this encoding.
    pub(super) fn open(path: &Path, encoding: Encoding) -> io::Result<Self> {
        let bytes = BufReader::with_capacity(CHUNK, File::open(path)?);
        Ok(Self { bytes, encoding, text: String::new(), given: 0, is_begin: true })
    }

    /// Decodes the next bytes. At the end of the file no text remains.
    fn decode(&mut self) -> io::Result<()> {
        self.text.clear();
        self.given = 0;
        let mut chunk = Vec::with_capacity(CHUNK);
        self.bytes.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
        match self.encoding {
            Encoding::Utf8 => {
                // Read the rest of a character that the chunk cuts off.
                while !chunk.is_empty() && std::str::from_utf8(&chunk).is_err_and(|error| error.error_len().is_none()) {
                    if self.bytes.by_ref().take(1).read_to_end(&mut chunk)? == 0 {
                        break;
                    }
                }
                let text = String::from_utf8(chunk).map_err(|_| invalid("UTF-8"))?;
                self.text = text;
            }
            Encoding::Windows1252 | Encoding::Latin1 => {
                self.text.extend(chunk.into_iter().map(|byte| self.encoding.character(byte)));
            }
            Encoding::Utf16Le | Encoding::Utf16Be => {
                let unit = |pair: [u8; 2]| match self.encoding {
                    Encoding::Utf16Be => u16::from_be_bytes(pair),
                    _ => u16::from_le_bytes(pair),
                };
                // The chunk may end within a surrogate pair.
                if let [.., first, second] = chunk[..]
                    && matches!(unit([first, second]), 0xd800..0xdc00)
                {
                    self.bytes.by_ref().take(2).read_to_end(&mut chunk)?;
                }
                let (pairs, rest) = chunk.as_chunks::<2>();
                let text: Result<String, _> = char::decode_utf16(pairs.iter().map(|pair| unit(*pair))).collect();
                self.text = text.ok().filter(|_| rest.is_empty()).ok_or_else(|| invalid("UTF-16"))?;
            }
        }
        if self.is_begin && self.text.starts_with(BYTE_ORDER_MARK) {
            self.given = BYTE_ORDER_MARK.len_utf8();
        }
        self.is_begin = false;
        Ok(())
    }
}

fn invalid(expected: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("the text is not valid {expected}: give its encoding with '--encoding'"))
}

impl Read for Decoded {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.given == self.text.len() {
            self.decode()?;
            if self.text.is_empty() {
                return Ok(0);
            }
        }
        let read = (&self.text.as_bytes()[self.given..]).read(into)?;
        self.given += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(name: &str, bytes: &[u8], wanted: Option<Encoding>) -> (Encoding, Option<u64>, io::Result<String>) {
        let path = std::env::temp_dir().join(format!("flowml-encoding-{name}-{}", std::process::id()));
        std::fs::write(&path, bytes).expect("there is room");
        let (found, wrong) = Encoding::of(&path).expect("it can be read");
        let mut text = String::new();
        let reader = Decoded::open(&path, wanted.unwrap_or(found)).expect("it can be read");
        let read = BufReader::with_capacity(7, reader).read_to_string(&mut text).map(|_| text);
        std::fs::remove_file(path).expect("the file is ours");
        (found, wrong, read)
    }

    #[test]
    fn files_are_decoded_from_their_encoding() {
        // Characters of one to four bytes, so that chunks end at every position of a character.
        let text: String = "aé–😀\n".repeat(3 * CHUNK / 10);
        let units = |to: fn(u16) -> [u8; 2]| -> Vec<u8> { text.encode_utf16().flat_map(to).collect() };
        let (le, be) = (units(u16::to_le_bytes), units(u16::to_be_bytes));
        let marked = |mark: &[u8], bytes: &[u8]| [mark, bytes].concat();
        let plain: Vec<u8> = "a,b\n1,2\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let cases = [
            ("utf8", text.clone().into_bytes(), Encoding::Utf8, text.as_str()),
            ("utf8-mark", marked(&[0xef, 0xbb, 0xbf], text.as_bytes()), Encoding::Utf8, &text),
            ("utf16le", marked(&[0xff, 0xfe], &le), Encoding::Utf16Le, &text),
            ("utf16be", marked(&[0xfe, 0xff], &be), Encoding::Utf16Be, &text),
            ("utf16-plain", plain, Encoding::Utf16Le, "a,b\n1,2\n"),
            ("empty", Vec::new(), Encoding::Utf8, ""),
            ("mark", vec![0xef, 0xbb, 0xbf], Encoding::Utf8, ""),
        ];
        for (name, bytes, encoding, expected) in cases {
            let (found, wrong, read) = decoded(name, &bytes, None);
            assert_eq!((found, wrong), (encoding, None), "{name}");
            assert!(read.expect(name) == expected, "{name}");
        }
    }

    #[test]
    fn text_that_is_not_utf8_is_windows_1252_by_default() {
        let bytes = b"Web Attack \x96 XSS \xe4\n";
        let (found, wrong, read) = decoded("1252", bytes, None);
        assert_eq!((found, wrong), (Encoding::Windows1252, Some(11)));
        assert_eq!(read.expect("every byte is a character"), "Web Attack – XSS ä\n");
        assert_eq!(decoded("latin1", bytes, Some(Encoding::Latin1)).2.expect("as before"), "Web Attack \u{96} XSS ä\n");
        let error = decoded("named", bytes, Some(Encoding::Utf8)).2.expect_err("it is none").to_string();
        assert!(error.contains("UTF-8") && error.contains("--encoding"), "{error}");
        // The file ends within a character.
        assert_eq!(decoded("cut", "é".repeat(9).as_bytes()[..17].into(), None).1, Some(16));
        let odd = decoded("odd", &[0xff, 0xfe, 0x41, 0x00, 0x42], None).2.expect_err("half a character").to_string();
        assert!(odd.contains("UTF-16"), "{odd}");
    }
}
