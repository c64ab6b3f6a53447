//! What reading a hostile log costs: memory stays a small multiple of the input, whatever the input says.
#![cfg(test)]

use ccnode_evidence::HashAlg;
use ccnode_tpm_eventlog::EventLog;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Counts what is held, and the most that was.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator can't be made otherwise")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MOST.fetch_max(HELD.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that `run` held beyond what was held before.
fn most(run: impl FnOnce()) -> usize {
    let before = HELD.load(Relaxed);
    MOST.store(before, Relaxed);
    run();
    MOST.load(Relaxed) - before
}

fn header(banks: &[(u16, u16)]) -> Vec<u8> {
    let mut spec = b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02".to_vec();
    spec.extend(u32::try_from(banks.len()).unwrap().to_le_bytes());
    for (id, size) in banks {
        spec.extend([id.to_le_bytes(), size.to_le_bytes()].concat());
    }
    spec.push(0);
    let mut log = [&[0, 0, 0, 0, 3, 0, 0, 0][..], &[0; 20]].concat();
    log.extend(u32::try_from(spec.len()).unwrap().to_le_bytes());
    log.extend(spec);
    log
}

/// One test, since the counters are the process's.
#[test]
fn memory_is_bounded_by_the_input() {
    // The smallest events there are: one digest of one byte, of a bank that is not known here.
    let mut small = header(&[(0x27, 1), (0x0b, 32)]);
    for _ in 0..50_000 {
        small.extend(
            [
                &[4u32.to_le_bytes(), 3u32.to_le_bytes(), 1u32.to_le_bytes()].concat()[..],
                &[0x27, 0, 9, 0, 0, 0, 0],
            ]
            .concat(),
        );
    }
    let held = most(|| {
        let log = EventLog::parse(&small).unwrap();
        assert_eq!(log.events.len(), 50_001);
        assert!(log.replay(HashAlg::Sha256).is_ok());
    });
    // The list of events grows by doubling: 64 bytes an event, the old list beside the new one.
    assert!(held <= 12 * small.len(), "{held} bytes for {}", small.len());

    // Sizes and counts that lie cost nothing.
    for lie in [0xffu8, 0x7f] {
        let mut log = header(&[(0x0b, 32)]);
        log.extend([4, 0, 0, 0, 4, 0, 0, 0]);
        log.extend([lie; 64]);
        assert!(most(|| assert!(EventLog::parse(&log).is_err())) < 1024);
    }
    let large = [
        header(&[(0x0b, 32)]),
        [&[4, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0x0b, 0][..], &[7; 32], &[0, 0, 16, 0], &vec![1; 1 << 20]]
            .concat(),
    ]
    .concat();
    let held = most(|| assert_eq!(EventLog::parse(&large).unwrap().events.len(), 2));
    assert!(held < large.len() / 2, "{held}: the data are not copied");
}
