//! Builds images. cargo makes the ELF file, and the flat binary is made from its loadable
//! segments.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use object::LittleEndian;
use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};

use crate::command;
use crate::failure::Failure;
use crate::files;
use crate::machine::{BootMethod, Machine};
use crate::manifest::{App, root};
use crate::options::{DEFAULT_LOG, Mode, Options};
use crate::toolchain::Toolchain;
use crate::user_programs;

/// What an image is built from.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The application in the image.
    pub app: App,
    /// The machine that the image is for.
    pub machine: &'static Machine,
    /// How it is compiled.
    pub mode: Mode,
    /// The log level that is compiled in, as in `LOG`.
    pub log: String,
    /// Features of the kernel beyond those that the application enables.
    pub features: Vec<String>,
    /// Features of the application.
    pub app_features: Vec<String>,
}

/// A built image.
#[derive(Debug, Clone)]
pub struct Image {
    /// The path of the ELF file, with symbols and line numbers.
    pub elf: PathBuf,
    /// The path of the flat binary.
    pub bin: PathBuf,
    /// The machine that the image is for.
    pub machine: &'static Machine,
}

impl Recipe {
    /// The recipe of the image that the user asks for.
    pub fn from_options(options: &Options) -> Recipe {
        Recipe {
            app: options.app.clone(),
            machine: options.machine(),
            mode: options.mode,
            log: options.log.clone(),
            features: options.features.clone(),
            app_features: options.app_features.clone(),
        }
    }

    /// The recipe of an image for which only `A` and `ARCH` are given.
    pub fn plain(app: App, machine: &'static Machine) -> Recipe {
        Recipe {
            app,
            machine,
            mode: Mode::Release,
            log: DEFAULT_LOG.to_owned(),
            features: Vec::new(),
            app_features: Vec::new(),
        }
    }

    /// Builds the image. cargo prints its progress on standard error.
    ///
    /// # Errors
    ///
    /// Fails if the image cannot be built. cargo has printed why.
    pub fn build(&self, verbose: bool) -> Result<Image, Failure> {
        let mut cargo = self.cargo()?;
        command::show(&cargo, verbose);
        command::run(&mut cargo)?;
        Ok(self.copy_to_images()?)
    }

    /// Builds the image without printing anything.
    ///
    /// # Errors
    ///
    /// Fails if the image cannot be built. The message holds cargo's output.
    pub fn build_quietly(&self) -> Result<Image, Failure> {
        command::run_cargo_quietly(&mut self.cargo()?)?;
        Ok(self.copy_to_images()?)
    }

    /// The command that builds the ELF file. The application's user programs are built first.
    fn cargo(&self) -> Result<Command, Failure> {
        let toolchain = Toolchain::set_up_for(self.machine)?;
        self.copy_lock_file()?;
        let archive = user_programs::build(&self.app, self.machine, toolchain)?;
        let mut cargo = toolchain.image_cargo("build", self.machine);
        cargo
            .arg("--manifest-path")
            .arg(self.app.dir.join("Cargo.toml"))
            .args(["--bin", &self.app.binary])
            .env("AX_LOG", &self.log);
        if let Some(archive) = archive {
            cargo.env(user_programs::ARCHIVE_VARIABLE, archive);
        }
        if self.mode == Mode::Release {
            cargo.arg("--release");
        }
        let features = self.cargo_features();
        if !features.is_empty() {
            cargo.args(["--features", &features]);
        }
        Ok(cargo)
    }

    fn cargo_features(&self) -> String {
        let kernel = self
            .features
            .iter()
            .map(|feature| format!("axstd/{feature}"));
        let axstd = self.app.chooses_axstd.then(|| "axstd".to_owned());
        kernel
            .chain(axstd)
            .chain(self.app_features.iter().cloned())
            .collect::<Vec<_>>()
            .join(",")
    }

    /// Copies our lock file to an application outside the repository that has none. Such an
    /// application is a workspace of its own. With our lock file it is built from the same
    /// versions, and cargo needs no network.
    fn copy_lock_file(&self) -> Result<()> {
        let (ours, its) = (root().join("Cargo.lock"), self.app.dir.join("Cargo.lock"));
        if self.app.is_ours() || its.exists() || !ours.exists() {
            return Ok(());
        }
        fs::copy(&ours, &its).with_context(|| format!("cannot write {}", its.display()))?;
        Ok(())
    }

    /// Copies the built program to `target/images`. Its name there holds mode and features, but
    /// not the log level: an image with another level takes its place.
    fn copy_to_images(&self) -> Result<Image> {
        let profile = match self.mode {
            Mode::Release => "release",
            Mode::Debug => "debug",
        };
        let built = root()
            .join("target/kernel")
            .join(self.machine.target)
            .join(profile)
            .join(&self.app.binary);
        Image::install(&built, &self.stem(), self.machine)
    }

    /// The image's file name without its extension.
    fn stem(&self) -> String {
        let mut stem = format!("{}-{}", self.app.name, self.machine.arch);
        for feature in self.features.iter().chain(&self.app_features) {
            stem.push('+');
            stem.push_str(feature);
        }
        if self.mode == Mode::Debug {
            stem.push_str("-debug");
        }
        stem
    }
}

impl Image {
    /// Copies the program `built` to `target/images/STEM.elf`, and makes `STEM.bin` from it.
    ///
    /// # Errors
    ///
    /// Fails if `built` is not an ELF file with segments to load, or a file cannot be
    /// written.
    pub fn install(built: &Path, stem: &str, machine: &'static Machine) -> Result<Image> {
        let images = root().join("target/images");
        let image = Image {
            elf: images.join(format!("{stem}.elf")),
            bin: images.join(format!("{stem}.bin")),
            machine,
        };
        let elf = files::read(built)?;
        let flat = flatten(&elf).with_context(|| format!("{} is not an image", built.display()))?;
        write_if_changed(&image.elf, &elf)?;
        write_if_changed(&image.bin, &flat)?;
        Ok(image)
    }

    /// Returns the file that the machine boots.
    pub fn boot_file(&self) -> &Path {
        match self.machine.boot_method {
            BootMethod::Flat => &self.bin,
            BootMethod::Elf | BootMethod::Process => &self.elf,
        }
    }

    /// Returns the size of the flat binary, in bytes.
    pub fn bytes(&self) -> Result<u64> {
        Ok(fs::metadata(&self.bin)?.len())
    }
}

/// Writes a file, unless it has these contents already. A new file takes the old one's
/// place, so that a running QEMU keeps the file that it has opened.
fn write_if_changed(path: &Path, contents: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == contents) {
        return Ok(());
    }
    let fresh = path.with_extension("new");
    files::write(&fresh, contents)?;
    // The image of `host` is run as a program.
    fs::set_permissions(&fresh, Permissions::from_mode(0o755))
        .and_then(|()| fs::rename(&fresh, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Returns the bytes of the loadable segments, each at the offset of its physical address
/// from the lowest one. Zeroed memory (bss) behind the last segment is left out.
///
/// # Errors
///
/// Fails if `elf` is not an ELF file, holds nothing to load, or has a segment outside the
/// file or more than 256 MiB from the first.
fn flatten(elf: &[u8]) -> Result<Vec<u8>> {
    /// A larger binary is a mistake in the linker script.
    const MAX_LEN: u64 = 256 << 20;

    let header = FileHeader64::<LittleEndian>::parse(elf)?;
    let endian = header.endian()?;
    let segments: Vec<_> = header
        .program_headers(endian, elf)?
        .iter()
        .filter(|segment| segment.p_type(endian) == PT_LOAD && segment.p_filesz(endian) > 0)
        .collect();
    let Some(base) = segments.iter().map(|segment| segment.p_paddr(endian)).min() else {
        bail!("it has nothing to load");
    };
    let mut flat = Vec::new();
    for segment in segments {
        let offset = segment.p_paddr(endian) - base;
        let data = segment
            .data(endian, elf)
            .ok()
            .context("a segment ends beyond the file")?;
        let end = offset
            .checked_add(data.len() as u64)
            .filter(|end| *end <= MAX_LEN);
        let end = end.with_context(|| {
            format!("a segment begins {offset:#x} bytes behind the first; all must end within {MAX_LEN:#x}")
        })? as usize;
        if flat.len() < end {
            flat.resize(end, 0);
        }
        flat[end - data.len()..end].copy_from_slice(data);
    }
    ensure!(!flat.is_empty(), "it has nothing to load");
    Ok(flat)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Variables;

    /// Makes an ELF file of segments: physical address, bytes in the file, size in memory.
    fn elf(segments: &[(u64, &[u8], u64)]) -> Vec<u8> {
        let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
        file.resize(16, 0);
        file.extend(2u16.to_le_bytes());
        file.extend(243u16.to_le_bytes());
        file.extend(1u32.to_le_bytes());
        file.extend(0u64.to_le_bytes());
        file.extend(64u64.to_le_bytes());
        file.extend(0u64.to_le_bytes());
        file.extend(0u32.to_le_bytes());
        for half in [64u16, 56, segments.len() as u16, 64, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        let mut offset = 64 + 56 * segments.len() as u64;
        for (address, bytes, memory) in segments {
            file.extend(1u32.to_le_bytes());
            file.extend(5u32.to_le_bytes());
            for word in [
                offset,
                address + 0xffff_0000_0000_0000,
                *address,
                bytes.len() as u64,
                *memory,
                4096,
            ] {
                file.extend(word.to_le_bytes());
            }
            offset += bytes.len() as u64;
        }
        segments
            .iter()
            .for_each(|(_, bytes, _)| file.extend(*bytes));
        file
    }

    #[test]
    fn the_plain_recipe_is_that_of_a_user_who_gives_no_more_variables() {
        let options = Options::from_variables(&Variables::default()).unwrap();
        let plain = Recipe::plain(options.app.clone(), options.machine());
        let of_user = Recipe::from_options(&options);
        assert_eq!(format!("{plain:?}"), format!("{of_user:?}"));
    }

    #[test]
    fn segments_are_placed_by_their_physical_addresses() {
        let file = elf(&[(0x1008, b"cd", 2), (0x1000, b"ab", 2), (0x2000, b"", 4096)]);
        assert_eq!(flatten(&file).unwrap(), b"ab\0\0\0\0\0\0cd");
    }

    #[test]
    fn a_file_that_cannot_be_flattened_is_refused() {
        assert!(flatten(b"no elf").is_err());
        assert!(flatten(&elf(&[])).is_err());
        assert!(flatten(&elf(&[(0, b"a", 1), (1 << 40, b"b", 1)])).is_err());
        let mut cut = elf(&[(0, b"abcdef", 6)]);
        cut.truncate(cut.len() - 2);
        assert!(flatten(&cut).is_err());
    }
}
