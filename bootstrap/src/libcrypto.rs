//! OpenSSL's libcrypto below libtss2-esys and libcryptsetup: set up once, and for what these two ask of it.
//!
//! Both use fetched algorithms of the default provider and nothing else. What libcrypto would do besides at its first use
//! (read a configuration, register engines, list every algorithm's old names) took 40 ms of an emulated boot. And each
//! random number of libtss2-esys took 15 ms: it makes a library context for each, with a provider and a random number
//! generator of its own, so that a random number generator which asks the TPM can't come into play. Nobody configures
//! one here, so the process's own context serves (docs/adr/0006).

use std::ffi::{c_int, c_void};

const NO_LOAD_CRYPTO_STRINGS: u64 = 0x01;
const NO_ADD_ALL_CIPHERS: u64 = 0x10;
const NO_ADD_ALL_DIGESTS: u64 = 0x20;
const NO_LOAD_CONFIG: u64 = 0x80;

// First among the libraries that are linked: most of the symbols that the loader looks up are libcrypto's own.
#[expect(unsafe_code, reason = "the library is C")]
#[link(name = "crypto")]
unsafe extern "C" {
    fn OPENSSL_init_crypto(options: u64, settings: *const c_void) -> c_int;
}

#[expect(unsafe_code, reason = "a function that the executable's libraries find, which no Rust function is")]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod context {
    #[cfg(target_arch = "x86_64")]
    macro_rules! jump {
        () => {
            "jmp OSSL_LIB_CTX_get0_global_default@PLT"
        };
    }
    #[cfg(target_arch = "aarch64")]
    macro_rules! jump {
        () => {
            "b OSSL_LIB_CTX_get0_global_default"
        };
    }

    // SAFETY: it has the signature of the function that it goes on to.
    std::arch::global_asm!(
        ".pushsection .text.OSSL_LIB_CTX_new,\"ax\",@progbits",
        ".globl OSSL_LIB_CTX_new",
        ".type OSSL_LIB_CTX_new, @function",
        "OSSL_LIB_CTX_new:",
        jump!(),
        ".size OSSL_LIB_CTX_new, . - OSSL_LIB_CTX_new",
        ".popsection",
    );
}

/// Call it before anything else uses the library. A library that can't be set up says so at its first use.
pub(crate) fn begin() {
    let options = NO_LOAD_CRYPTO_STRINGS | NO_ADD_ALL_CIPHERS | NO_ADD_ALL_DIGESTS | NO_LOAD_CONFIG;
    #[expect(unsafe_code, reason = "the library is C")]
    // SAFETY: no settings are given, and the function may be called at any time.
    let _ = unsafe { OPENSSL_init_crypto(options, std::ptr::null()) };
}
