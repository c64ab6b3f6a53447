//! The shared libraries that a binary needs, found as the dynamic loader would find them, without running it.

use object::elf::{DT_NEEDED, FileHeader64};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _, SectionHeader as _};
use object::{Endianness, StringTable};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Where Debian's loader looks on amd64 without a cache, and where the libraries go in the initramfs.
const SEARCH: [&str; 4] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/local/lib/x86_64-linux-gnu",
    "/usr/local/lib",
];
/// Where libraries lie in the initramfs.
const GUEST: &str = "/lib/x86_64-linux-gnu";

/// Why a binary's libraries can't be found.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// The file can't be read.
    #[error("can't read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is no ELF64 file or damaged.
    #[error("{path} is no ELF file for amd64: {source}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: object::read::Error,
    },
    /// A library is on none of the loader's paths.
    #[error(
        "{needed_by} needs {name}, which is in none of the loader's folders: install the package that holds it"
    )]
    NotFound {
        /// The library's soname.
        name: String,
        /// Who needs it.
        needed_by: PathBuf,
    },
}

/// What one ELF file asks of the loader.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Needs {
    /// The loader: "/lib64/ld-linux-x86-64.so.2"; none for libraries and static binaries.
    pub interpreter: Option<String>,
    /// Sonames, in the file's order.
    pub libraries: Vec<String>,
}

/// Reads what an ELF file asks for.
pub fn needs(bytes: &[u8]) -> Result<Needs, object::read::Error> {
    let header = FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let mut out = Needs::default();
    for segment in header.program_headers(endian, bytes)? {
        if let Some(path) = segment.interpreter(endian, bytes)? {
            out.interpreter = Some(String::from_utf8_lossy(path).into_owned());
        }
    }
    let sections = header.sections(endian, bytes)?;
    if let Some((entries, strings)) = sections.dynamic(endian, bytes)? {
        let strings: StringTable<'_> = sections.strings(endian, bytes, strings)?;
        for entry in entries.iter().filter(|e| e.tag32(endian) == Some(DT_NEEDED)) {
            let name = entry.string(endian, strings)?;
            out.libraries.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    Ok(out)
}

/// The content of a section, where there is one of that name.
pub(crate) fn section<'a>(bytes: &'a [u8], name: &str) -> Result<Option<&'a [u8]>, object::read::Error> {
    let header = FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, bytes)?;
    match sections.section_by_name(endian, name.as_bytes()) {
        Some((_, section)) => section.data(endian, bytes).map(Some),
        None => Ok(None),
    }
}

/// All libraries that `binary` and the libraries `also` (opened at run time) need: path in the initramfs → file here.
pub fn closure(binary: &Path, also: &[&str]) -> Result<BTreeMap<String, PathBuf>, ElfError> {
    let mut found = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut queue: Vec<(PathBuf, Needs)> = vec![(binary.to_owned(), read(binary)?)];
    if let Some((_, first)) = queue.first_mut() {
        // A static binary opens nothing at run time.
        if first.interpreter.is_none() && first.libraries.is_empty() {
            return Ok(found);
        }
        first.libraries.extend(also.iter().map(|s| (*s).to_owned()));
    }
    while let Some((path, needs)) = queue.pop() {
        if let Some(loader) = needs.interpreter {
            found.insert(loader.clone(), PathBuf::from(loader));
        }
        for name in needs.libraries {
            if !seen.insert(name.clone()) {
                continue;
            }
            let file = SEARCH.iter().map(|dir| Path::new(dir).join(&name)).find(|p| p.is_file());
            let Some(file) = file else { return Err(ElfError::NotFound { name, needed_by: path }) };
            if !name.starts_with("ld-linux") {
                found.insert(format!("{GUEST}/{name}"), file.clone());
            }
            let needs = Needs { interpreter: None, ..read(&file)? };
            queue.push((file, needs));
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Needs, ElfError> {
    let bytes = std::fs::read(path).map_err(|source| ElfError::Read { path: path.to_owned(), source })?;
    needs(&bytes).map_err(|source| ElfError::Malformed { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_test_binary_needs_libc_and_a_loader() {
        let binary = std::env::current_exe().unwrap();
        let found = closure(&binary, &[]).unwrap();
        assert!(found.contains_key("/lib/x86_64-linux-gnu/libc.so.6"), "{found:?}");
        assert!(found.contains_key("/lib64/ld-linux-x86-64.so.2"), "{found:?}");
        for file in found.values() {
            assert!(file.is_file(), "{file:?}");
        }
    }

    #[test]
    fn missing_library_is_named() {
        let binary = std::env::current_exe().unwrap();
        let error = closure(&binary, &["libdoes-not-exist.so.7"]).unwrap_err();
        assert!(
            matches!(&error, ElfError::NotFound { name, .. } if name == "libdoes-not-exist.so.7"),
            "{error}"
        );
    }

    #[test]
    fn text_is_no_elf() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "#!/bin/sh\n").unwrap();
        assert!(matches!(closure(file.path(), &[]), Err(ElfError::Malformed { .. })));
        assert!(matches!(closure(Path::new("/nowhere"), &[]), Err(ElfError::Read { .. })));
    }

    #[test]
    fn truncated_elf_is_no_panic() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for len in (0..4096).step_by(7) {
            let _ = needs(&bytes[..len.min(bytes.len())]);
        }
    }
}
