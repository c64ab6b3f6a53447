//! What the process's libraries get when they ask libcrypto for a context of their own.
#![cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]

use std::ffi::{CStr, c_void};

// Part of the program and not of the library: whoever tests the library ends by exit(), where libcryptsetup frees its
// context after libcrypto has freed the process's.
#[path = "../src/libcrypto.rs"]
mod libcrypto;

#[expect(unsafe_code, reason = "the library is C")]
unsafe extern "C" {
    fn OSSL_LIB_CTX_new() -> *const c_void;
    fn OSSL_LIB_CTX_get0_global_default() -> *const c_void;
}

/// What the loader gives to the libraries of this process.
#[expect(unsafe_code, reason = "the loader is C")]
fn found(name: &CStr) -> *const c_void {
    // SAFETY: a C string, and no handle of a library.
    unsafe { nix::libc::dlsym(nix::libc::RTLD_DEFAULT, name.as_ptr()) }
}

#[test]
#[expect(unsafe_code, reason = "the library is C")]
fn whoever_asks_for_a_new_context_gets_that_of_the_process() {
    libcrypto::begin();
    assert_eq!(found(c"OSSL_LIB_CTX_new"), OSSL_LIB_CTX_new as *const c_void);
    // SAFETY: neither takes anything.
    assert_eq!(unsafe { OSSL_LIB_CTX_new() }, unsafe { OSSL_LIB_CTX_get0_global_default() });
}
