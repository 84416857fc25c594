//! What a command was asked to write: into a new file, or to standard output.

use std::fs::File;
use std::io::{self, BufWriter, Stdout, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::output::report::{Failure, Sentence};
use crate::output::stdout::OutputError;

/// Where it is written. A file appears under its name as a whole and durable, in [`Output::finish`],
/// or not at all.
pub(crate) enum Output {
    Stdout(BufWriter<Stdout>),
    File { path: PathBuf, out: BufWriter<NamedTempFile> },
}

impl Output {
    /// Refuses a file that is there already: before the work is done.
    pub(crate) fn check(path: Option<&Path>) -> Result<(), Failure> {
        match path.filter(|path| path.exists()) {
            Some(path) => Err(there(path)),
            None => Ok(()),
        }
    }

    /// Begins to write: without a path to standard output.
    pub(crate) fn create(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Ok(Self::Stdout(BufWriter::new(io::stdout())));
        };
        let mut file = tempfile::Builder::new();
        file.prefix(".tipline-");
        // As any new file: a temporary one would be for its owner only.
        #[cfg(unix)]
        file.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = file.tempfile_in(folder_of(path)).map_err(|error| unwritten(path, error))?;
        Ok(Self::File { path: path.to_owned(), out: BufWriter::new(file) })
    }

    /// Writes some of it.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout(out) => Ok(out.write_all(bytes).map_err(OutputError::from)?),
            Self::File { path, out } => {
                out.write_all(bytes).map_err(|error| unwritten(path, error))
            }
        }
    }

    /// Prints what was written until now. Of a file nothing is seen yet.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        match self {
            Self::Stdout(out) => Ok(out.flush().map_err(OutputError::from)?),
            Self::File { .. } => Ok(()),
        }
    }

    /// All is written. A file has its name, and is durable, on return.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        self.flush()?;
        let Self::File { path, out } = self else { return Ok(()) };
        let failed = |error| unwritten(&path, error);
        let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist_noclobber(&path).map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => there(&path),
            _ => failed(error.error),
        })?;
        File::open(folder_of(&path)).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

fn folder_of(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

fn there(path: &Path) -> Failure {
    let text = format!("{} is there already", path.display());
    Failure::from(Sentence(text)).advise("name another file, or remove it first")
}

fn unwritten(path: &Path, error: io::Error) -> Failure {
    Unwritten(path.display().to_string(), error).into()
}

#[derive(Debug, thiserror::Error)]
#[error("{0} cannot be written")]
struct Unwritten(String, #[source] io::Error);

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Output;

    #[test]
    fn a_file_is_there_as_a_whole_and_is_never_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proof");
        let names = || fs::read_dir(directory.path()).unwrap().count();
        let mut output = Output::create(Some(&path)).unwrap();
        output.write(b"some of it").unwrap();
        output.flush().unwrap();
        assert!(!path.exists());
        drop(output);
        assert_eq!(names(), 0, "nothing is left of what was not finished");

        Output::check(Some(&path)).unwrap();
        let mut output = Output::create(Some(&path)).unwrap();
        let mut late = Output::create(Some(&path)).unwrap();
        output.write(b"all of it").unwrap();
        output.finish().unwrap();
        late.write(b"something else").unwrap();
        for refused in [late.finish(), Output::check(Some(&path))] {
            let text = refused.unwrap_err().text();
            assert!(text.ends_with("proof is there already"), "{text}");
        }
        assert_eq!(fs::read(&path).unwrap(), b"all of it");
        assert_eq!(names(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_is_for_whom_every_new_file_is() {
        use std::os::unix::fs::PermissionsExt;

        let directory = tempfile::tempdir().unwrap();
        let [path, other] = ["proof", "other"].map(|name| directory.path().join(name));
        Output::create(Some(&path)).unwrap().finish().unwrap();
        fs::write(&other, "").unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(format!("{:o}", mode(&path)), format!("{:o}", mode(&other)));
    }
}
