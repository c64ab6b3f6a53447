//! Names of mapped devices: safe in paths, device-mapper tables and logs.

/// The name of a device below /dev/mapper: 1 to 64 ASCII letters, digits, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

/// A text that is no [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a device name: 1 to 64 letters, digits, _ and - are expected")]
pub struct NameError;

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// /dev/mapper/NAME.
    pub fn path(&self) -> std::path::PathBuf {
        std::path::Path::new("/dev/mapper").join(&self.0)
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let known = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        match (1..=64).contains(&text.len()) && text.bytes().all(known) && text != "control" {
            true => Ok(Self(text.to_owned())),
            false => Err(NameError),
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_names() {
        assert_eq!("root".parse::<Name>().unwrap().path(), std::path::Path::new("/dev/mapper/root"));
        for wrong in ["", "a/b", "..", "a b", "é", "control", &"x".repeat(65)] {
            assert_eq!(wrong.parse::<Name>(), Err(NameError));
        }
    }
}
