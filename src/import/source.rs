//! The files that are read: their size is bounded, and every byte has a line and a column.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::rc::Rc;

use super::report::Place;

/// The longest file that is read, in bytes. Azure takes templates of 4 MB.
pub const BYTES_MAX: u64 = 4 << 20;

/// A file's text, and what messages call it.
#[derive(Clone, Debug)]
pub struct Source {
    pub(super) name: Rc<str>,
    pub(super) text: String,
    /// Where each line begins, in bytes.
    starts: Vec<usize>,
    /// How many characters begin before each stride of bytes: a file may be one line, and have many places.
    characters: Vec<usize>,
}

const STRIDE: usize = 1024;

/// The bytes that begin a character of UTF-8.
fn beginnings(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

impl Source {
    /// A text in hand. A byte order mark at its beginning is no part of it.
    pub fn new(name: &str, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(ends).collect();
        let mut before = 0;
        let characters = text.as_bytes().chunks(STRIDE).map(|stride| {
            let first = before;
            before += beginnings(stride);
            first
        });
        let characters = characters.collect();
        Self { name: name.into(), text, starts, characters }
    }

    /// The file at `path`.
    ///
    /// # Errors
    ///
    /// Says why it cannot be used.
    pub fn read(path: &Path) -> Result<Self, String> {
        let name = path.display().to_string();
        let unreadable = |error: std::io::Error| format!("{name}: cannot be read: {error}");
        // Asked before opening, for opening a pipe waits for its writer.
        if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(format!("{name}: is not a file"));
        }
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(format!("{name}: is longer than {} MiB; is it the right file?", BYTES_MAX >> 20));
        }
        let text = decoded(&bytes)
            .ok_or_else(|| format!("{name}: is neither UTF-8 nor UTF-16; save it as UTF-8"))?;
        Ok(Self::new(&name, &text))
    }

    pub(super) fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let column = 1 + self.before(offset).saturating_sub(self.before(start));
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Place { file: Rc::clone(&self.name), line: number(line), column: number(column) }
    }

    /// How many characters begin before a byte.
    fn before(&self, offset: usize) -> usize {
        let offset = offset.min(self.text.len());
        let stride = offset / STRIDE;
        let rest = self.text.as_bytes().get(stride * STRIDE..offset).unwrap_or_default();
        let whole = self.characters.get(stride).or(self.characters.last()).copied().unwrap_or(0);
        // At the very end there may be no stride of its own.
        let last = if stride < self.characters.len() || stride == 0 { 0 } else { STRIDE };
        let end = self.text.as_bytes().get((stride * STRIDE).saturating_sub(last)..stride * STRIDE);
        whole + end.map_or(0, beginnings) + beginnings(rest)
    }

    /// The file as a whole.
    pub(super) fn whole(&self) -> Place {
        Place { file: Rc::clone(&self.name), line: 0, column: 0 }
    }
}

/// Visual Studio writes UTF-8 with a mark, PowerShell's redirection UTF-16.
fn decoded(bytes: &[u8]) -> Option<String> {
    let utf16 = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, odd) = rest.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
        String::from_utf16(&units).ok().filter(|_| odd.is_empty())
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        // Without its mark: what these files begin with is ASCII, as XML 1.0, appendix F, tells them apart.
        [b'<' | b'{' | b'[', 0, ..] => utf16(bytes, u16::from_le_bytes),
        [0, b'<' | b'{' | b'[', ..] => utf16(bytes, u16::from_be_bytes),
        _ => String::from_utf8(bytes.to_vec()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_counted_in_characters() {
        let source = Source::new("f", "\u{feff}ab\nä“x\n");
        let at = source.text.find('x').unwrap();
        assert_eq!(source.place(at).to_string(), "f:2:3");
        assert_eq!(source.place(0).to_string(), "f:1:1");
        assert_eq!(source.place(9999).line, 3);
    }

    #[test]
    fn columns_of_long_lines_are_the_same_as_counted() {
        for length in [0, 1, STRIDE - 1, STRIDE, STRIDE + 1, 2 * STRIDE, 5000] {
            let source = Source::new("f", &format!("a\n{}", "aä“".repeat(length)));
            for (at, _) in source.text.char_indices().skip(2).chain([(source.text.len(), ' ')]) {
                let counted = 1 + source.text.get(2..at).map_or(0, |before| before.chars().count());
                assert_eq!(source.place(at).column as usize, counted, "{length} {at}");
            }
        }
        // Whole strides and no more.
        let source = Source::new("f", &"x".repeat(2 * STRIDE));
        assert_eq!(source.place(2 * STRIDE).column as usize, 2 * STRIDE + 1);
    }

    #[test]
    fn utf_16_is_read_with_its_mark_and_without() {
        assert_eq!(decoded(&[b'<', 0, 0xe4, 0]).unwrap(), "<ä");
        assert_eq!(decoded(&[0, b'{', 0, b'}']).unwrap(), "{}");
        assert_eq!(decoded(&[0xff, 0xfe, b'a', 0, 0xe4, 0]).unwrap(), "aä");
        assert_eq!(decoded(&[0xfe, 0xff, 0, b'a']).unwrap(), "a");
        assert_eq!(decoded(&[0xff, 0xfe, b'a']), None);
        assert_eq!(decoded(&[b'a', 0xff]), None);
    }
}
