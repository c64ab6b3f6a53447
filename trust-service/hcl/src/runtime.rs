//! The runtime data: keys of the vTPM, the VM's configuration, and what the guest put in as user data.

use crate::key::{Jwk, KeyFault, RsaKey};
use crate::rejection::HclRejection;
use serde::Deserialize;

const AK: &str = "HCLAkPub";
const EK: &str = "HCLEkPub";
/// Keys that are looked at; real data have two.
const MAX_KEYS: usize = 16;

/// What the paravisor says of the VM; members differ between its versions.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct VmConfiguration {
    /// Whether Secure Boot is on.
    pub secure_boot: Option<bool>,
    /// Whether there is a vTPM.
    pub tpm_enabled: Option<bool>,
    /// Whether the vTPM's state outlives the VM; a vTPM made anew at each boot is nobody from one boot to the next.
    pub tpm_persisted: Option<bool>,
    /// Whether a console is attached.
    pub console_enabled: Option<bool>,
    /// Whether the console takes input.
    pub interactive_console_enabled: Option<bool>,
    /// Whether devices pass the paravisor's filter.
    pub filtered_vpci_devices_allowed: Option<bool>,
    /// SHA-256 of the provisioning certificate, base64url.
    pub root_cert_thumbprint: Option<String>,
    /// The VM's id.
    #[serde(rename = "vmUniqueId")]
    pub vm_unique_id: Option<String>,
}

/// The runtime data as they were read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuntimeData {
    ak: RsaKey,
    ek: Option<RsaKey>,
    vm: VmConfiguration,
    user_data: Option<[u8; 64]>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Wire {
    keys: Vec<Jwk>,
    #[serde(default)]
    vm_configuration: VmConfiguration,
    user_data: Option<String>,
}

impl RuntimeData {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, HclRejection> {
        let wire: Wire = serde_json::from_slice(bytes).map_err(|e| runtime(&e))?;
        if wire.keys.len() > MAX_KEYS {
            return Err(HclRejection::Runtime(format!("{} keys are too many", wire.keys.len())));
        }
        let ak =
            find(&wire.keys, AK, "sign")?.ok_or(HclRejection::Key { kid: AK, fault: KeyFault::Missing })?;
        let ek = find(&wire.keys, EK, "encrypt")?;
        let user_data =
            wire.user_data.as_deref().filter(|text| !text.is_empty()).map(user_data).transpose()?;
        Ok(Self { ak, ek, vm: wire.vm_configuration, user_data })
    }

    /// The vTPM's attestation key (`HCLAkPub`).
    pub fn ak(&self) -> &RsaKey {
        &self.ak
    }

    /// The vTPM's endorsement key (`HCLEkPub`), where this version names it.
    pub fn ek(&self) -> Option<&RsaKey> {
        self.ek.as_ref()
    }

    /// The VM's configuration.
    pub fn vm(&self) -> &VmConfiguration {
        &self.vm
    }

    /// What the guest had written to NV index 0x01400002 when the report was made; zeros where it wrote nothing.
    pub fn user_data(&self) -> Option<&[u8; 64]> {
        self.user_data.as_ref()
    }
}

fn runtime(error: &serde_json::Error) -> HclRejection {
    HclRejection::Runtime(
        error.to_string().chars().filter(|c| !ccnode_evidence::is_obeyed(*c)).take(200).collect(),
    )
}

fn find(keys: &[Jwk], kid: &'static str, use_for: &str) -> Result<Option<RsaKey>, HclRejection> {
    let mut named = keys.iter().filter(|key| key.kid == kid);
    let (Some(key), other) = (named.next(), named.next()) else { return Ok(None) };
    if other.is_some() {
        return Err(HclRejection::Key { kid, fault: KeyFault::Twice });
    }
    key.read(use_for).map(Some).map_err(|fault| HclRejection::Key { kid, fault })
}

fn user_data(text: &str) -> Result<[u8; 64], HclRejection> {
    let mut out = [0; 64];
    hex::decode_to_slice(text, &mut out)
        .map_err(|_| HclRejection::Runtime("user-data are not 64 bytes in hexadecimal".to_owned()))?;
    Ok(out)
}

/// Proof that a proven hardware report covers these runtime data. [`crate::HclReport::bound_to`] alone makes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuntimeProven(RuntimeData);

impl RuntimeProven {
    pub(crate) fn new(data: RuntimeData) -> Self {
        Self(data)
    }

    /// What is proven.
    pub fn data(&self) -> &RuntimeData {
        &self.0
    }

    /// Whether the guest had written these 64 bytes when the report was made: whether it was made in this very session.
    pub fn is_fresh(&self, wanted: &[u8; 64]) -> Result<(), HclRejection> {
        if self.0.user_data.as_ref() == Some(wanted) {
            return Ok(());
        }
        let seen = self.0.user_data.map_or_else(|| "(none)".to_owned(), hex::encode);
        Err(HclRejection::UserData { seen, wanted: hex::encode(wanted) })
    }

    /// Whether the attestation key is the one named: modulus and exponent, big-endian.
    pub fn names_ak(&self, modulus: &[u8], exponent: &[u8]) -> Result<(), HclRejection> {
        same(Some(&self.0.ak), AK, modulus, exponent)
    }

    /// Whether the endorsement key is the one named; one that is not named is not.
    pub fn names_ek(&self, modulus: &[u8], exponent: &[u8]) -> Result<(), HclRejection> {
        same(self.0.ek.as_ref(), EK, modulus, exponent)
    }
}

fn same(
    key: Option<&RsaKey>,
    kid: &'static str,
    modulus: &[u8],
    exponent: &[u8],
) -> Result<(), HclRejection> {
    let Some(key) = key else { return Err(HclRejection::Key { kid, fault: KeyFault::Missing }) };
    let bare = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
    if bare(modulus) == key.modulus() && bare(exponent) == key.exponent() {
        Ok(())
    } else {
        Err(HclRejection::OtherKey { kid })
    }
}
