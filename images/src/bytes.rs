//! Little-endian numbers at an offset of a byte slice, read and written without a panic.

/// The `N` bytes at `at`; `None` beyond the end.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// The number of 16 bits at `at`.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

/// The number of 32 bits at `at`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

/// Writes `with` at `at`; `None` where it does not fit.
pub(crate) fn put(bytes: &mut [u8], at: usize, with: &[u8]) -> Option<()> {
    bytes.get_mut(at..at.checked_add(with.len())?)?.copy_from_slice(with);
    Some(())
}

/// `value` rounded up to a multiple of `to`, which is not zero.
pub(crate) fn align(value: u64, to: u64) -> u64 {
    value.div_ceil(to) * to
}

/// A reflected CRC of 32 bits over `bytes`, going on from `start`; the caller complements where its use demands it.
pub(crate) fn crc(polynomial: u32, start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |acc, byte| {
        (0..8).fold(acc ^ u32::from(*byte), |c, _| (c >> 1) ^ (polynomial & 0u32.wrapping_sub(c & 1)))
    })
}
