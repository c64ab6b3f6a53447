//! Remembers signatures of certificates that were verified, since a pool's CAs and nodes come back again and again.
//!
//! A function of certificate and key stays one: what is remembered is that it said yes to exactly these bytes, by SHA-256. Nobody fills
//! this without certificates that a CA of some pool signed, and what is full is emptied.

use ccnode_evidence::Sha256Digest;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::sync::Mutex;

/// Signatures that are remembered: 32 bytes each, and what a set costs.
const CAPACITY: usize = 4096;

static VERIFIED: Mutex<BTreeSet<Sha256Digest>> = Mutex::new(BTreeSet::new());

/// `verify`'s answer for this certificate (DER) and this issuer's key (SubjectPublicKeyInfo, DER), remembered where it was a yes.
pub(super) fn once<E>(
    cert: &[u8],
    issuer_key: &[u8],
    verify: impl FnOnce() -> Result<(), E>,
) -> Result<(), E> {
    let parts = Sha256::new().chain_update((cert.len() as u64).to_be_bytes());
    let pair = Sha256Digest(parts.chain_update(cert).chain_update(issuer_key).finalize().into());
    if VERIFIED.lock().is_ok_and(|verified| verified.contains(&pair)) {
        return Ok(());
    }
    verify()?;
    if let Ok(mut verified) = VERIFIED.lock() {
        if verified.len() >= CAPACITY {
            verified.clear();
        }
        verified.insert(pair);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_to_the_same_bytes_is_remembered() {
        let ask = |cert: &[u8], key: &[u8], answer: Result<(), ()>| {
            let mut asked = false;
            let got = once(cert, key, || {
                asked = true;
                answer
            });
            (got, asked)
        };
        assert_eq!(ask(b"memo cert", b"key", Err(())), (Err(()), true));
        assert_eq!(ask(b"memo cert", b"key", Ok(())), (Ok(()), true));
        assert_eq!(ask(b"memo cert", b"key", Err(())), (Ok(()), false));
        for (cert, key) in [(&b"memo cer"[..], &b"tkey"[..]), (b"memo cert", b"kez"), (b"memo certk", b"ey")]
        {
            assert_eq!(ask(cert, key, Err(())), (Err(()), true));
        }
    }
}
