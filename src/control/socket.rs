//! The Unix socket of the control API: made, replaced when its process is dead, and removed at the end.

use std::fmt;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Its owner and its group may say what they like, others nothing.
const MODE: u32 = 0o660;

/// The socket cannot be had.
#[derive(Debug)]
pub enum SocketError {
    /// Another process answers there.
    Live(PathBuf),
    /// What is there is not a socket.
    NotASocket(PathBuf),
    /// It cannot be given to the group.
    Group(PathBuf, u32, io::Error),
    /// The system refuses.
    System(PathBuf, io::Error),
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live(path) => write!(
                f,
                "control socket {}: another guideway listens there; stop it, or name another socket with \
                 --control-socket",
                path.display()
            ),
            Self::NotASocket(path) => write!(
                f,
                "control socket {}: there is something else there; remove it, or name another path with \
                 --control-socket",
                path.display()
            ),
            Self::Group(path, group, error) => write!(
                f,
                "control socket {}: cannot give it to group {group}: {error}; run as root or as a member of the group, \
                 or leave --control-socket-group out",
                path.display()
            ),
            Self::System(path, error) => write!(
                f,
                "control socket {}: {error}; make its directory writable, or name another path with \
                 --control-socket",
                path.display()
            ),
        }
    }
}

/// A socket that is listened at. Its file goes with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: what another has put there since is not ours to remove.
    file: Option<(u64, u64)>,
    /// The directory, where it was made for the socket.
    made: Option<PathBuf>,
}

impl Socket {
    /// Listens at `path`, whose directory is made where it is missing.
    ///
    /// # Errors
    /// When somebody listens there already, or it cannot be made.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let system = |error| SocketError::System(path.to_owned(), error);
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
        let made = directory.filter(|directory| !directory.exists()).map(Path::to_owned);
        if let Some(directory) = &made {
            fs::create_dir_all(directory).map_err(system)?;
        }
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                remove_stale(path)?;
                UnixListener::bind(path)
            }
            other => other,
        };
        let listener = listener.map_err(system)?;
        let socket = Self { listener, path: path.to_owned(), file: identity(path), made };
        fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(system)?;
        socket.listener.set_nonblocking(true).map_err(system)?;
        Ok(socket)
    }

    /// Makes it a group's.
    ///
    /// # Errors
    /// When this process may not.
    pub fn give_to(&self, group: u32) -> Result<(), SocketError> {
        chown(&self.path, None, Some(group))
            .map_err(|error| SocketError::Group(self.path.clone(), group, error))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.file.is_some() && identity(&self.path) == self.file {
            // What cannot be removed is found stale at the next start.
            let _ = fs::remove_file(&self.path);
        }
        if let Some(directory) = &self.made {
            // One that others have files in stays.
            let _ = fs::remove_dir(directory);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|data| (data.dev(), data.ino()))
}

/// Removes the socket of a process that is gone.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let system = |error| SocketError::System(path.to_owned(), error);
    if !fs::symlink_metadata(path).map_err(system)?.file_type().is_socket() {
        return Err(SocketError::NotASocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
        Err(error) => return Err(system(error)),
        Ok(_) => return Err(SocketError::Live(path.to_owned())),
    }
    fs::remove_file(path).map_err(system)
}
