//! The kernel modules that authenticated encryption takes, which the initramfs must have.

use super::{RecipeError, Table};
use ccnode_luks_header::Integrity;

/// No node can load what its initramfs does not have: it would refuse its first boot.
/// Which it is, where the modules are there.
pub(super) fn check(table: &Table, modules: &[String]) -> Result<Integrity, RecipeError> {
    let name = table.get("disk").and_then(|disk| disk.get("integrity")).map(|name| match name.as_str() {
        Some(name) => name.to_owned(),
        None => name.to_string(),
    });
    let Some(name) = name else { return Ok(Integrity::None) };
    let integrity = name.parse();
    let wants: &[&str] = match &integrity {
        Ok(Integrity::None) => &[],
        Ok(Integrity::HmacSha256) => &["dm-integrity", "authenc"],
        Ok(Integrity::AesGcm) => &["dm-integrity", "algif_aead", "gcm", "ctr", "ghash-generic"],
        Ok(Integrity::Aegis128) => &["dm-integrity", "algif_aead", "aegis128"],
        Err(_) => {
            return Err(RecipeError::IntegrityName(name));
        }
    };
    let same = |a: &str, b: &str| a.replace('-', "_") == b.replace('-', "_");
    let lacks = wants.iter().filter(|want| !modules.iter().any(|name| same(name, want)));
    let lacks: Vec<&str> = lacks.copied().collect();
    match lacks.is_empty() {
        true => Ok(integrity.unwrap_or_default()),
        false => Err(RecipeError::Integrity { name, modules: lacks.join(", ") }),
    }
}
