//! A bounded reader for AMD's structures.

/// A cursor over foreign bytes; every read is checked.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(*head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_read_is_bounded() {
        let mut r = Reader::new(&[1, 0, 0, 0, 2]);
        assert_eq!(r.array(), Some([1, 0, 0, 0]));
        assert_eq!(r.take(2), None);
        assert_eq!(r.take(1), Some(&[2][..]));
        assert_eq!(r.array::<1>(), None);
        assert_eq!(Reader::new(&[0; 3]).array::<4>(), None);
    }
}
