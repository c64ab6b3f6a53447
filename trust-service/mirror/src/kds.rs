//! AMD's Key Distribution Service, interface version 1 (AMD 57230, chapter 4): paths, and what comes back.

use crate::http::{Answer, Http, MirrorError};
use crate::want::Chip;
use ccnode_snp::{Certificates, Holder, KeyKind, Product, VekCertificate};

/// Bytes of a hardware id from Turin on; the rest of CHIP_ID is zero there.
const TURIN_ID: usize = 8;

/// The certificate of a chip's VCEK at a TCB, DER.
pub(crate) async fn chip(http: &Http, base: &str, chip: &Chip) -> Result<Certificates, MirrorError> {
    let Some(path) = chip_path(chip) else {
        return Err(MirrorError::Url(hex::encode(chip.tcb)));
    };
    let answer = http.get(base, &path).await?;
    let mut held = Certificates::default();
    add(&mut held, &answer)?;
    let asked = |vek: &VekCertificate| {
        let of_chip = matches!(vek.holder(), Holder::Chip(id) if *id == chip.id);
        of_chip && vek.product() == chip.product && Some(vek.tcb()) == chip.version()
    };
    match held.veks.as_slice() {
        [vek] if asked(vek) => Ok(held),
        _ => Err(answer.wrong("not the certificate of this chip at this TCB")),
    }
}

/// The CAs of a line (PEM) and the revocation list of its root (DER).
pub(crate) async fn line(
    http: &Http,
    base: &str,
    product: Product,
    key: KeyKind,
) -> Result<Certificates, MirrorError> {
    let kind = match key {
        KeyKind::Vcek => "vcek",
        KeyKind::Vlek => "vlek",
    };
    let (chain, crl) = (format!("/{kind}/v1/{product}/cert_chain"), format!("/{kind}/v1/{product}/crl"));
    let (chain, crl) = tokio::join!(http.get(base, &chain), http.get(base, &crl));
    let mut held = Certificates::default();
    add(&mut held, &chain?)?;
    add(&mut held, &crl?)?;
    Ok(held)
}

fn add(held: &mut Certificates, answer: &Answer) -> Result<(), MirrorError> {
    held.add(&answer.body).map_err(|error| answer.wrong(error))
}

fn chip_path(chip: &Chip) -> Option<String> {
    let tcb = chip.version()?;
    let id = match chip.product {
        Product::Turin => hex::encode(chip.id.get(..TURIN_ID)?),
        Product::Milan | Product::Genoa => hex::encode(chip.id),
    };
    let fmc = tcb.fmc.map(|fmc| format!("fmcSPL={fmc:02}&")).unwrap_or_default();
    Some(format!(
        "/vcek/v1/{}/{id}?{fmc}blSPL={:02}&teeSPL={:02}&snpSPL={:02}&ucodeSPL={:02}",
        chip.product, tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_interface() {
        let mut id = [0; 64];
        id[0] = 0xab;
        let path = |product, tcb| chip_path(&Chip { product, id, tcb });
        let zeros = "00".repeat(63);
        assert_eq!(
            path(Product::Milan, [3, 0, 0, 0, 0, 0, 8, 115]).unwrap(),
            format!("/vcek/v1/Milan/ab{zeros}?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115")
        );
        assert_eq!(
            path(Product::Turin, [1, 2, 3, 4, 0, 0, 0, 5]).unwrap(),
            "/vcek/v1/Turin/ab00000000000000?fmcSPL=01&blSPL=02&teeSPL=03&snpSPL=04&ucodeSPL=05"
        );
        assert_eq!(path(Product::Genoa, [1, 2, 3, 4, 0, 0, 0, 5]), None);
    }
}
