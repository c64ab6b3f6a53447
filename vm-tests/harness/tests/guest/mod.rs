//! A guest of 167 bytes: a multiboot image that greets on the serial console, echoes what is typed, and on `q` powers
//! off, on `r` resets, on `p` prints a kernel's last words and goes on.

use std::fs;
use std::path::Path;

use ccnode_vm_harness::Machine;

/// What the guest prints when it runs.
pub(crate) const READY: &str = "guest: ready";

const HEADER: [u32; 8] = [
    0x1bad_b002,                                              // magic
    0x0001_0000,                                              // addresses follow
    0u32.wrapping_sub(0x1bad_b002).wrapping_sub(0x0001_0000), // checksum
    0x10_0000,                                                // where the header lies
    0x10_0000,                                                // load from here
    0x10_00a7,                                                // to here
    0x10_00a7,                                                // no zeroed memory
    0x10_0020,                                                // entry
];

#[rustfmt::skip]
const CODE: [u8; 81] = [
    0xbe, 0x71, 0x00, 0x10, 0x00,             //       mov  $hello, %esi
    0xe8, 0x3a, 0x00, 0x00, 0x00,             //       call print
    0x66, 0xba, 0xfd, 0x03,                   // next: mov  $0x3fd, %dx     line status
    0xec,                                     //       in   %dx, %al
    0xa8, 0x01,                               //       test $1, %al
    0x74, 0xf7,                               //       jz   next
    0x66, 0xba, 0xf8, 0x03,                   //       mov  $0x3f8, %dx     data
    0xec,                                     //       in   %dx, %al
    0xee,                                     //       out  %al, %dx
    0x3c, b'q', 0x74, 0x14,                   //       je   off
    0x3c, b'r', 0x74, 0x1b,                   //       je   reset
    0x3c, b'p', 0x75, 0xe5,                   //       jne  next
    0xbe, 0x80, 0x00, 0x10, 0x00,             //       mov  $panic, %esi
    0xe8, 0x15, 0x00, 0x00, 0x00,             //       call print
    0xeb, 0xd9,                               //       jmp  next
    0x66, 0xba, 0x04, 0x06,                   // off:  mov  $0x604, %dx     PM1a control
    0x66, 0xb8, 0x00, 0x20,                   //       mov  $0x2000, %ax    S5
    0x66, 0xef, 0xf4,                         //       out  %ax, %dx; hlt
    0x66, 0xba, 0xf9, 0x0c,                   // reset: mov $0xcf9, %dx
    0xb0, 0x06, 0xee, 0xf4,                   //       mov  $6, %al; out %al, %dx; hlt
    0x66, 0xba, 0xf8, 0x03,                   // print: mov $0x3f8, %dx
    0xac,                                     // 1:    lodsb
    0x84, 0xc0, 0x74, 0x03,                   //       jz   2f
    0xee, 0xeb, 0xf8,                         //       out  %al, %dx; jmp 1b
    0xc3,                                     // 2:    ret
];

/// A machine that runs the guest, whose files are written to `dir`.
#[expect(clippy::unwrap_used, reason = "part of a test")]
pub(crate) fn machine(dir: &Path) -> Machine {
    let mut image: Vec<u8> = HEADER.iter().flat_map(|word| word.to_le_bytes()).collect();
    image.extend(CODE);
    image.extend(b"guest: ready\r\n\0Kernel panic - not syncing: asked to\r\n\0");
    assert_eq!(image.len(), 0xa7);
    fs::write(dir.join("guest"), image).unwrap();
    fs::write(dir.join("initrd"), "none").unwrap();
    Machine::kernel(dir.join("guest"), dir.join("initrd"), "").memory(32)
}
