//! An empty file system, as an image carries it for the volumes that its nodes make: the pages that are not zero.
//!
//! Eight bytes of the whole length, then for each page eight bytes of its number and its content, in ascending order; all numbers are
//! little-endian.

use std::collections::BTreeMap;

/// Byte length of a page.
pub const PAGE: usize = 4096;
/// Longest file system that is carried, in bytes.
pub const MAX: u64 = 1 << 30;

/// An empty file system of some MiB.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    len: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
}

/// Not a template.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TemplateError {
    /// The length is zero, too large, or no multiple of a page.
    #[error("a template of {0} bytes")]
    Length(u64),
    /// A page lies behind the end, or not behind the one before it.
    #[error("a template's page {0} is out of place")]
    Place(u64),
    /// The last page is cut short.
    #[error("a template ends within a page")]
    Cut,
}

impl Template {
    /// Of a whole file system.
    pub fn of(image: &[u8]) -> Result<Self, TemplateError> {
        let (pages, rest) = image.as_chunks::<PAGE>();
        let len = length(image.len() as u64)?;
        if !rest.is_empty() {
            return Err(TemplateError::Length(len));
        }
        let used = pages.iter().zip(0..).filter(|(page, _)| page.iter().any(|b| *b != 0));
        Ok(Self { len, pages: used.map(|(page, at)| (at, Box::new(*page))).collect() })
    }

    /// As it is carried.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.len.to_le_bytes().to_vec();
        for (at, page) in &self.pages {
            out.extend(at.to_le_bytes());
            out.extend(page.iter());
        }
        out
    }

    /// Reads what [`Template::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, TemplateError> {
        let (len, mut rest) = bytes.split_first_chunk().ok_or(TemplateError::Cut)?;
        let len = length(u64::from_le_bytes(*len))?;
        let mut pages = BTreeMap::new();
        while !rest.is_empty() {
            let (at, after) = rest.split_first_chunk().ok_or(TemplateError::Cut)?;
            let (page, after) = after.split_first_chunk::<PAGE>().ok_or(TemplateError::Cut)?;
            let at = u64::from_le_bytes(*at);
            let ascends = pages.last_key_value().is_none_or(|(last, _)| *last < at);
            if !ascends || at >= len / PAGE as u64 {
                return Err(TemplateError::Place(at));
            }
            pages.insert(at, Box::new(*page));
            rest = after;
        }
        Ok(Self { len, pages })
    }

    /// Length in bytes of the file system.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is nothing; never so.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The page of that number; `None` where it is zero.
    pub fn page(&self, number: u64) -> Option<&[u8; PAGE]> {
        self.pages.get(&number).map(AsRef::as_ref)
    }
}

fn length(len: u64) -> Result<u64, TemplateError> {
    let good = (1..=MAX).contains(&len) && len.is_multiple_of(PAGE as u64);
    if good { Ok(len) } else { Err(TemplateError::Length(len)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_back_where_they_were() {
        let mut image = vec![0; 5 * PAGE];
        image[PAGE] = 1;
        image[5 * PAGE - 1] = 2;
        let template = Template::of(&image).unwrap();
        let bytes = template.encode();
        assert_eq!(bytes.len(), 8 + 2 * (8 + PAGE));
        let back = Template::decode(&bytes).unwrap();
        assert_eq!((&back, back.len()), (&template, image.len() as u64));
        let zero = [0; PAGE];
        let whole: Vec<u8> = (0..5).flat_map(|n| *back.page(n).unwrap_or(&zero)).collect();
        assert!(whole == image);
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for odd in [vec![], vec![1; 7], vec![1; PAGE + 1], vec![1; 2 * PAGE - 1]] {
            assert!(matches!(Template::of(&odd), Err(TemplateError::Length(_))));
        }
        let good = Template::of(&vec![1; 2 * PAGE]).unwrap().encode();
        for cut in [0, 7, 12, 16, good.len() - 1] {
            assert_eq!(Template::decode(&good[..cut]), Err(TemplateError::Cut), "{cut}");
        }
        let with = |at: usize, number: u64| {
            let mut bytes = good.clone();
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
            Template::decode(&bytes).unwrap_err()
        };
        for len in [0, 1, MAX + PAGE as u64] {
            assert_eq!(with(0, len), TemplateError::Length(len));
        }
        assert_eq!(with(16 + PAGE, 2), TemplateError::Place(2), "behind the end");
        assert_eq!(with(16 + PAGE, 0), TemplateError::Place(0), "twice");
    }
}
