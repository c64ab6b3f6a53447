//! Certificates, revocation lists and roots as they were given beside the evidence.

use super::Given;
use super::report::Report;
use crate::error::Usage;
use anyhow::{Result, bail};
use ccnode_snp::{CaCertificate, Certificates, Product, Roots};
use ccnode_tdx::Root;
use x509_parser::pem::Pem;

/// What `--certs` held, for SEV-SNP; what can't be read counts against the evidence.
pub(crate) fn given(given: &Given, report: &mut Report) -> Option<Certificates> {
    let mut all = Certificates::default();
    for (path, bytes) in &given.certs {
        match Certificates::parse(bytes) {
            Ok(certificates) => all.extend(certificates),
            Err(error) => {
                report.wrong(ccnode_evidence::Code::SnpCertMalformed, format!("{}: {error}", path.display()));
                return None;
            }
        }
    }
    Some(all)
}

/// AMD's roots and those that `--danger-root` adds.
pub(crate) fn amd_roots(given: &Given) -> Result<Roots> {
    let mut roots = Roots::amd().clone();
    for der in ders(given)? {
        // A root is one of a line of processors by its name; others are another maker's.
        let Ok(cert) = CaCertificate::parse(&der) else { continue };
        let name = cert.common_name();
        if let Some(product) = Product::ALL.into_iter().find(|product| name.ends_with(product.name())) {
            roots = roots.danger_with(product, &der)?;
        }
    }
    Ok(roots)
}

/// Intel's root, or the one that `--danger-root` puts in its place.
pub(crate) fn intel_root(given: &Given) -> Result<Root> {
    let other = ders(given)?.into_iter().find_map(|der| Root::danger_other_root(&der).ok());
    Ok(other.unwrap_or_else(Root::intel))
}

/// The roots given, DER.
pub(crate) fn ders(given: &Given) -> Result<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    for bytes in &given.danger_roots {
        if bytes.first() == Some(&0x30) {
            all.push(bytes.clone());
            continue;
        }
        let before = all.len();
        all.extend(Pem::iter_from_buffer(bytes).filter_map(Result::ok).map(|block| block.contents));
        if all.len() == before {
            bail!(Usage::new("--danger-root: not a certificate", "give PEM or DER"));
        }
    }
    Ok(all)
}
