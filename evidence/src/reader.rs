//! A bounded little-endian reader over foreign bytes: every read lies inside them or is `None`.

/// A cursor that never moves beyond its bytes; a read that does not fit moves it nowhere.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    total: usize,
}

impl<'a> Reader<'a> {
    /// At the first of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, total: bytes.len() }
    }

    /// How many bytes were read so far.
    pub fn offset(&self) -> usize {
        self.total - self.rest.len()
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(len)?;
        self.rest = tail;
        Some(head)
    }

    /// As many bytes as a 64-bit length says.
    pub fn take_u64(&mut self, len: u64) -> Option<&'a [u8]> {
        self.take(usize::try_from(len).ok()?)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (head, tail) = self.rest.split_first_chunk()?;
        self.rest = tail;
        Some(head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array().copied().map(u8::from_le_bytes)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().copied().map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().copied().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().copied().map(u64::from_le_bytes)
    }

    /// As many bytes as a u16 in front of them says.
    pub fn sized_u16(&mut self) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let len = usize::from(ahead.u16()?);
        let bytes = ahead.take(len)?;
        *self = ahead;
        Some(bytes)
    }

    /// As many bytes as a u32 in front of them says.
    pub fn sized_u32(&mut self) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let len = usize::try_from(ahead.u32()?).ok()?;
        let bytes = ahead.take(len)?;
        *self = ahead;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_reads_past_the_end() {
        let mut r = Reader::new(&[1, 2, 3]);
        assert_eq!((r.u16(), r.offset()), (Some(0x0201), 2));
        assert_eq!((r.u16(), r.u32(), r.u64(), r.take(2), r.offset()), (None, None, None, None, 2));
        assert_eq!((r.array::<2>(), r.rest()), (None, &[3][..]));
        assert_eq!((r.u8(), r.u8(), r.is_empty()), (Some(3), None, true));
        assert_eq!(Reader::new(&[1]).take_u64(u64::MAX), None);
        assert_eq!(Reader::new(&[1, 2, 3, 4, 5, 6, 7, 8]).u64(), Some(0x0807_0605_0403_0201));
    }

    #[test]
    fn a_length_that_lies_moves_nothing() {
        let mut r = Reader::new(&[4, 0, 0, 0, 1]);
        assert_eq!((r.sized_u32(), r.offset()), (None, 0));
        assert_eq!((r.sized_u16(), r.offset()), (None, 0), "4 bytes are due, and 3 are there");
        assert_eq!(Reader::new(&[255; 7]).sized_u32(), None);
        assert_eq!(Reader::new(&[1, 0, 9]).sized_u16(), Some(&[9][..]));
        assert_eq!(Reader::new(&[1, 0, 0, 0, 9, 8]).sized_u32(), Some(&[9][..]));
    }
}
