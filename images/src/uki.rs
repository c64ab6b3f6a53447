//! Unified kernel images: sections appended to an EFI stub, bit for bit the same for the same input, and taken apart again.

use crate::bytes::{align, put, u32_at};
use crate::pe::{self, Pe, PeError, SECTION_ENTRY};

/// The sections that carry a UKI's payload, in the order in which the builder writes them.
pub const PAYLOAD: [&str; 8] =
    [".osrel", ".uname", ".cmdline", ".splash", ".dtb", ".pcrpkey", ".linux", ".initrd"];

/// CNT_INITIALIZED_DATA | MEM_READ.
const FLAGS: u32 = 0x4000_0040;
/// New sections begin on pages, so that the inner kernel lies aligned in memory.
const PAGE: u64 = 0x1000;

/// A UKI taken apart: the stub as it was, and the sections appended to it.
///
/// `Uki::parse(&bytes)?.to_bytes()? == bytes` for every UKI that [`Uki::to_bytes`] wrote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Uki {
    stub: Vec<u8>,
    sections: Vec<(String, Vec<u8>)>,
}

impl Uki {
    /// A UKI on `stub` (a PE32+ image with room in its section table) without payload yet.
    pub fn new(stub: &[u8]) -> Result<Self, PeError> {
        Pe::parse(stub)?;
        Ok(Self { stub: stub.to_vec(), sections: Vec::new() })
    }

    /// Takes a UKI apart. The payload must lie behind the stub, in the file as in the table.
    pub fn parse(bytes: &[u8]) -> Result<Self, PeError> {
        let pe = Pe::parse(bytes)?;
        let own = pe.sections().iter().take_while(|s| !PAYLOAD.contains(&s.name.as_str())).count();
        let mut sections = Vec::new();
        let (stub_sections, payload) = pe.sections().split_at_checked(own).unwrap_or_default();
        let stub_end = payload.first().map_or(bytes.len(), |s| s.raw_offset as usize);
        let mut end = stub_end;
        let inside = |s: &pe::Section| s.raw_offset as usize + s.raw_size as usize <= stub_end;
        if let Some(over) = stub_sections.iter().find(|s| !inside(s)) {
            return Err(PeError::SectionBounds(over.name.clone()));
        }
        for section in payload {
            let bounds = || PeError::SectionBounds(section.name.clone());
            if (section.raw_offset as usize) < end {
                return Err(bounds());
            }
            end = section.raw_offset as usize + section.raw_size as usize;
            let content = pe.content(&section.name)?.ok_or_else(bounds)?;
            sections.push((section.name.clone(), content.to_vec()));
        }
        let mut stub = bytes.get(..stub_end).ok_or(PeError::Truncated("stub"))?.to_vec();
        let table = pe.layout.table + own * SECTION_ENTRY;
        let cleared = vec![0; (pe.sections().len() - own) * SECTION_ENTRY];
        put(&mut stub, table, &cleared).ok_or(PeError::Truncated("section table"))?;
        finish_headers(&mut stub, &pe.layout, own)?;
        Ok(Self { stub, sections })
    }

    /// The stub, without payload.
    pub fn stub(&self) -> &[u8] {
        &self.stub
    }

    /// The content of a section.
    pub fn section(&self, name: &str) -> Option<&[u8]> {
        self.sections.iter().find(|(n, _)| n == name).map(|(_, content)| content.as_slice())
    }

    /// Replaces a section's content, or appends the section. `name` has eight bytes at most.
    pub fn set(&mut self, name: &str, content: Vec<u8>) {
        match self.sections.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = content,
            None => self.sections.push((name.to_owned(), content)),
        }
    }

    /// Names and contents in the order of the table.
    pub fn sections(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.sections.iter().map(|(name, content)| (name.as_str(), content.as_slice()))
    }

    /// The image: stub, then each section on an address of its own; time stamp and checksum are zero.
    pub fn to_bytes(&self) -> Result<Vec<u8>, PeError> {
        let pe = Pe::parse(&self.stub)?;
        let own = pe.sections().len();
        let file_align = u64::from(pe.layout.file_align);
        let mut out = self.stub.clone();
        let table = pe.layout.table + own * SECTION_ENTRY;
        if table + self.sections.len() * SECTION_ENTRY > first_data(&pe) {
            return Err(PeError::HeaderRoom(self.sections.len()));
        }
        let mut address = pe.sections().iter().map(memory_end).max().unwrap_or_default();
        for (index, (name, content)) in self.sections.iter().enumerate() {
            pad(&mut out, file_align);
            address = align(address, PAGE.max(u64::from(pe.layout.section_align)));
            let size = narrow(content.len() as u64)?;
            let mut entry = [0; SECTION_ENTRY];
            let fields: [(usize, u32); 5] = [
                (8, size),
                (12, narrow(address)?),
                (16, narrow(align(size.into(), file_align))?),
                (20, narrow(out.len() as u64)?),
                (36, FLAGS),
            ];
            if name.len() > 8 {
                return Err(PeError::Field("section name"));
            }
            put(&mut entry, 0, name.as_bytes()).ok_or(PeError::Field("section name"))?;
            for (at, value) in fields {
                put(&mut entry, at, &value.to_le_bytes()).ok_or(PeError::Truncated("section table"))?;
            }
            put(&mut out, table + index * SECTION_ENTRY, &entry)
                .ok_or(PeError::Truncated("section table"))?;
            out.extend_from_slice(content);
            pad(&mut out, file_align);
            address += u64::from(size);
        }
        finish_headers(&mut out, &pe.layout, own + self.sections.len())?;
        Ok(out)
    }
}

/// Writes the numbers of the headers that follow from the section table, and the zeroes.
fn finish_headers(out: &mut [u8], layout: &pe::Layout, count: usize) -> Result<(), PeError> {
    let (mut data, mut image) = (0, layout.headers as u64);
    for index in 0..count {
        let at = layout.table + index * SECTION_ENTRY;
        let field = |offset| u32_at(out, at + offset).ok_or(PeError::Truncated("section table"));
        image = image.max(u64::from(field(12)?) + u64::from(field(8)?));
        if field(36)? & 0x40 != 0 {
            data += u64::from(field(16)?);
        }
    }
    let image = align(image, layout.section_align.into());
    let count = u16::try_from(count).map_err(|_| PeError::TooLarge)?;
    let optional = layout.optional;
    let writes = [
        put(out, layout.coff + 2, &count.to_le_bytes()),
        put(out, layout.coff + 4, &[0; 4]),
        put(out, optional + pe::SIZE_OF_DATA, &narrow(data)?.to_le_bytes()),
        put(out, optional + pe::SIZE_OF_IMAGE, &narrow(image)?.to_le_bytes()),
        put(out, optional + pe::CHECKSUM, &[0; 4]),
    ];
    if writes.contains(&None) { Err(PeError::Truncated("optional header")) } else { Ok(()) }
}

/// Where the first section's data begin: the table may grow up to there.
fn first_data(pe: &Pe<'_>) -> usize {
    let offsets = pe.sections().iter().filter(|s| s.raw_size > 0).map(|s| s.raw_offset as usize);
    offsets.min().unwrap_or(pe.layout.headers).min(pe.layout.headers)
}

fn memory_end(section: &pe::Section) -> u64 {
    u64::from(section.virtual_address) + u64::from(section.virtual_size.max(section.raw_size))
}

fn pad(out: &mut Vec<u8>, to: u64) {
    let len = align(out.len() as u64, to);
    out.resize(usize::try_from(len).unwrap_or(out.len()), 0);
}

/// Numbers of a PE image stay below 2 GiB.
fn narrow(value: u64) -> Result<u32, PeError> {
    u32::try_from(value).ok().filter(|v| *v <= i32::MAX as u32).ok_or(PeError::TooLarge)
}

#[cfg(test)]
#[path = "uki_tests.rs"]
mod tests;
