//! Bounded reader of PE32+ images and their Authenticode digest (Microsoft PE/COFF specification; Authenticode PE, SHA-256).

use crate::bytes::{u16_at, u32_at};
use ccnode_evidence::Sha256Digest;
use sha2::{Digest as _, Sha256};

/// Why bytes are not a PE image that firmware would load.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PeError {
    /// A header lies beyond the end of the bytes.
    #[error("truncated: no room for the {0}")]
    Truncated(&'static str),
    /// A magic number is wrong.
    #[error("not a PE32+ image: the {0} is missing")]
    Magic(&'static str),
    /// A section's data lies beyond the end of the bytes or overlaps another's.
    #[error("the data of section {0} lie outside the file or over another section's")]
    SectionBounds(String),
    /// A section occurs twice.
    #[error("there are two sections {0}")]
    Duplicate(String),
    /// A section that must be there is missing.
    #[error("there is no section {0}: is this a unified kernel image?")]
    Missing(&'static str),
    /// The headers have no room for more sections.
    #[error("the stub's headers have no room for {0} more sections")]
    HeaderRoom(usize),
    /// A number of the header can't be right.
    #[error("the header's {0} can't be right")]
    Field(&'static str),
    /// The image would be larger than 2 GiB.
    #[error("the image would be larger than a PE image can be")]
    TooLarge,
}

/// Where the fields of the headers are, as byte offsets into the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Of the COFF file header.
    pub(crate) coff: usize,
    /// Of the optional header.
    pub(crate) optional: usize,
    /// Of the section table.
    pub(crate) table: usize,
    /// Of the certificate table's entry in the data directories, if there is one.
    cert_entry: Option<usize>,
    /// SizeOfHeaders.
    pub(crate) headers: usize,
    /// FileAlignment in bytes.
    pub(crate) file_align: u32,
    /// SectionAlignment in bytes.
    pub(crate) section_align: u32,
}

/// Length of an entry of the section table.
pub(crate) const SECTION_ENTRY: usize = 40;
/// Offset of CheckSum in the optional header.
pub(crate) const CHECKSUM: usize = 64;
/// Offset of SizeOfImage in the optional header.
pub(crate) const SIZE_OF_IMAGE: usize = 56;
/// Offset of SizeOfInitializedData in the optional header.
pub(crate) const SIZE_OF_DATA: usize = 8;

/// An entry of the section table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Section {
    /// Name without its padding: ".linux".
    pub name: String,
    /// Length in memory, bytes: what the stub measures.
    pub virtual_size: u32,
    /// Address in memory relative to the image base.
    pub virtual_address: u32,
    /// Length in the file, bytes.
    pub raw_size: u32,
    /// Offset in the file, bytes.
    pub raw_offset: u32,
}

/// A PE32+ image whose headers were read and whose sections lie inside the file.
#[derive(Clone, Debug)]
pub struct Pe<'a> {
    bytes: &'a [u8],
    pub(crate) layout: Layout,
    sections: Vec<Section>,
}

impl<'a> Pe<'a> {
    /// Reads the headers; every section with data lies inside `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PeError> {
        if bytes.get(..2) != Some(b"MZ") {
            return Err(PeError::Magic("DOS header"));
        }
        let new = u32_at(bytes, 0x3c).ok_or(PeError::Truncated("DOS header"))? as usize;
        let coff = new.checked_add(4).ok_or(PeError::Field("e_lfanew"))?;
        if bytes.get(new..coff) != Some(b"PE\0\0") {
            return Err(PeError::Magic("PE signature"));
        }
        let count = u16_at(bytes, coff + 2).ok_or(PeError::Truncated("file header"))?;
        let optional_size = u16_at(bytes, coff + 16).ok_or(PeError::Truncated("file header"))?;
        let optional = coff + 20;
        if u16_at(bytes, optional) != Some(0x20b) {
            return Err(PeError::Magic("PE32+ optional header"));
        }
        let field = |at| u32_at(bytes, optional + at).ok_or(PeError::Truncated("optional header"));
        let directories = field(108)?;
        let cert_entry = (directories > 4).then_some(optional + 112 + 4 * 8);
        let table = optional + usize::from(optional_size);
        if cert_entry.is_some_and(|at| at + 8 > table) {
            return Err(PeError::Field("SizeOfOptionalHeader"));
        }
        let layout = Layout {
            coff,
            optional,
            table,
            cert_entry,
            headers: field(60)? as usize,
            file_align: power_of_two(field(36)?, "FileAlignment")?,
            section_align: power_of_two(field(32)?, "SectionAlignment")?,
        };
        let end = table + usize::from(count) * SECTION_ENTRY;
        if end > layout.headers || layout.headers > bytes.len() {
            return Err(PeError::Truncated("section table"));
        }
        let sections = bytes
            .get(table..end)
            .unwrap_or_default()
            .chunks_exact(SECTION_ENTRY)
            .map(|entry| section(entry, bytes.len()))
            .collect::<Result<_, _>>()?;
        Ok(Self { bytes, layout, sections })
    }

    /// The section table, in its order.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// What of a section the stub sees in memory: `virtual_size` bytes. `Ok(None)` where there is no such section.
    pub fn content(&self, name: &str) -> Result<Option<&'a [u8]>, PeError> {
        let mut found = self.sections.iter().filter(|s| s.name == name);
        let Some(section) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(PeError::Duplicate(name.to_owned()));
        }
        let start = section.raw_offset as usize;
        let data = (section.virtual_size <= section.raw_size)
            .then(|| self.bytes.get(start..start + section.virtual_size as usize))
            .flatten();
        data.map(Some).ok_or_else(|| PeError::SectionBounds(name.to_owned()))
    }

    /// The Authenticode digest: all bytes but CheckSum, the certificate table's entry and the certificates.
    pub fn authenticode(&self) -> Result<Sha256Digest, PeError> {
        let mut hash = Sha256::new();
        let mut feed = |from: usize, to: usize| {
            let part = self.bytes.get(from..to).ok_or(PeError::Truncated("hashed part"))?;
            hash.update(part);
            Ok(())
        };
        let checksum = self.layout.optional + CHECKSUM;
        feed(0, checksum)?;
        let certs = match self.layout.cert_entry {
            Some(at) => {
                feed(checksum + 4, at)?;
                feed(at + 8, self.layout.headers)?;
                u32_at(self.bytes, at + 4).ok_or(PeError::Truncated("certificate entry"))? as usize
            }
            None => {
                feed(checksum + 4, self.layout.headers)?;
                0
            }
        };
        let mut with_data: Vec<&Section> = self.sections.iter().filter(|s| s.raw_size > 0).collect();
        with_data.sort_by_key(|s| s.raw_offset);
        let mut hashed = self.layout.headers;
        for section in with_data {
            let start = section.raw_offset as usize;
            feed(start, start + section.raw_size as usize)?;
            hashed += section.raw_size as usize;
        }
        let end = self.bytes.len().checked_sub(certs).ok_or(PeError::Field("certificate table"))?;
        if hashed > end {
            return Err(PeError::Field("certificate table"));
        }
        feed(hashed, end)?;
        Ok(Sha256Digest(hash.finalize().into()))
    }

    /// The certificate table, empty where the image is not signed.
    pub fn certificates(&self) -> &'a [u8] {
        let entry = self.layout.cert_entry.and_then(|at| {
            let start = u32_at(self.bytes, at)? as usize;
            let size = u32_at(self.bytes, at + 4)? as usize;
            self.bytes.get(start..start.checked_add(size)?)
        });
        entry.unwrap_or_default()
    }
}

fn power_of_two(value: u32, field: &'static str) -> Result<u32, PeError> {
    if value.is_power_of_two() { Ok(value) } else { Err(PeError::Field(field)) }
}

fn section(entry: &[u8], file: usize) -> Result<Section, PeError> {
    let field = |at| u32_at(entry, at).ok_or(PeError::Truncated("section table"));
    let name = entry.get(..8).unwrap_or_default();
    let name: Vec<u8> = name.iter().copied().take_while(|b| *b != 0).collect();
    let section = Section {
        name: String::from_utf8_lossy(&name).into_owned(),
        virtual_size: field(8)?,
        virtual_address: field(12)?,
        raw_size: field(16)?,
        raw_offset: field(20)?,
    };
    if u64::from(section.raw_offset) + u64::from(section.raw_size) > file as u64 {
        return Err(PeError::SectionBounds(section.name));
    }
    Ok(section)
}

#[cfg(test)]
#[path = "pe_tests.rs"]
pub(crate) mod tests;
