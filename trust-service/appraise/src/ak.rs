//! The attestation key: guarded by a TPM, signing nothing but what that TPM made.

use crate::Rejection;
use crate::tpm_types::SigningKey;
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

/// Proof that the key is a restricted signing key that a TPM made and does not let go, of RSASSA-SHA256.
///
/// It is worth what the TPM is: only activation says that the key is one of the certificate's TPM.
#[derive(Clone, Copy, Debug)]
pub struct AkGuarded(());

impl AkGuarded {
    pub(crate) fn check(key: &SigningKey) -> Result<Self, Rejection> {
        for attribute in SET {
            if key.attributes & attribute.mask() == 0 {
                return Err(Rejection::AkAttributes(AttributeFault::Missing(attribute)));
            }
        }
        if key.attributes & Attribute::Decrypt.mask() != 0 {
            return Err(Rejection::AkAttributes(AttributeFault::Excess(Attribute::Decrypt)));
        }
        Ok(Self(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(attributes: u32) -> Result<AkGuarded, Rejection> {
        AkGuarded::check(&SigningKey { attributes, modulus: vec![] })
    }

    #[test]
    fn t06_each_attribute_counts() {
        let good = SET.iter().fold(0, |acc, a| acc | a.mask());
        assert_eq!(good, 0x0005_0032);
        assert!(judge(good).is_ok());
        for attribute in SET {
            let got = judge(good & !attribute.mask());
            assert!(
                matches!(got, Err(Rejection::AkAttributes(AttributeFault::Missing(a))) if a == attribute)
            );
        }
        let got = judge(good | Attribute::Decrypt.mask());
        assert!(matches!(got, Err(Rejection::AkAttributes(AttributeFault::Excess(Attribute::Decrypt)))));
    }
}
