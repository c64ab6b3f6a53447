//! The attestation key: guarded by a TPM, signing nothing but what that TPM made.

use crate::Rejection;
use crate::tpm::SigningKey;
use std::fmt;

macro_rules! attributes {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $text:literal;)*) => {
        /// An attribute of a TPM object that is judged (TPMA_OBJECT; TPM 2.0 Library, part 2, section 8.3).
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Attribute {
            $($(#[$doc])* $name,)*
        }

        impl Attribute {
            fn mask(self) -> u32 {
                1 << match self { $(Self::$name => $bit,)* }
            }
        }

        impl fmt::Display for Attribute {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $text,)* })
            }
        }
    };
}

attributes! {
    /// It can't leave its TPM.
    FixedTpm = 1, "fixedTPM";
    /// It can't change its parent.
    FixedParent = 4, "fixedParent";
    /// The TPM made it; it was never outside.
    SensitiveDataOrigin = 5, "sensitiveDataOrigin";
    /// It signs nothing that begins like a TPM's structure and is none.
    Restricted = 16, "restricted";
    /// It decrypts.
    Decrypt = 17, "decrypt";
    /// It signs.
    Sign = 18, "sign";
}

const SET: [Attribute; 5] = [
    Attribute::Restricted,
    Attribute::Sign,
    Attribute::FixedTpm,
    Attribute::FixedParent,
    Attribute::SensitiveDataOrigin,
];

/// An attribute that stands the wrong way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AttributeFault {
    /// It must be set.
    #[error("attribute {0} is not set")]
    Missing(Attribute),
    /// It must be clear.
    #[error("attribute {0} is set")]
    Excess(Attribute),
}

/// Proof that the key is a restricted signing key that a TPM made and does not let go.
///
/// It is worth what the TPM is: only activation says that the key is one of the certificate's TPM.
#[derive(Clone, Copy, Debug)]
pub struct AkGuarded(());

impl AkGuarded {
    pub(crate) fn check(key: &SigningKey) -> Result<Self, Rejection> {
        Self::of(key.attributes).map_err(Rejection::AkAttributes)
    }

    /// By TPMA_OBJECT alone.
    pub(crate) fn of(attributes: u32) -> Result<Self, AttributeFault> {
        for attribute in SET {
            if attributes & attribute.mask() == 0 {
                return Err(AttributeFault::Missing(attribute));
            }
        }
        if attributes & Attribute::Decrypt.mask() != 0 {
            return Err(AttributeFault::Excess(Attribute::Decrypt));
        }
        Ok(Self(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t06_each_attribute_counts() {
        let good = SET.iter().fold(0, |acc, a| acc | a.mask());
        assert_eq!(good, 0x0005_0032);
        assert!(AkGuarded::of(good).is_ok());
        for attribute in SET {
            let got = AkGuarded::of(good & !attribute.mask()).unwrap_err();
            assert_eq!(got, AttributeFault::Missing(attribute));
        }
        let got = AkGuarded::of(good | Attribute::Decrypt.mask()).unwrap_err();
        assert_eq!(got, AttributeFault::Excess(Attribute::Decrypt));
    }
}
