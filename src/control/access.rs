//! Who may use the control API over TCP: who has the token, and is not somebody's web browser.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, ORIGIN};
use hyper::http::uri::Authority;
use subtle::ConstantTimeEq;

use super::api::{Peer, Refusal};
use super::limited::Limited;

/// The shortest token: what 16 random bytes come to in hex is twice as long.
const TOKEN_BYTES_MIN: usize = 16;

/// The longest: a header has no room for more.
const TOKEN_BYTES_MAX: usize = 4096;

/// What a caller must know. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Vec<u8>);

/// The token cannot be had.
#[derive(Debug)]
pub enum TokenError {
    /// The file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// Others can read the file.
    Readable(PathBuf, u32),
    /// The file is another user's, who can put another token there.
    Foreign(PathBuf, u32),
    /// Not a token.
    Bad(PathBuf, &'static str),
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => write!(
                f,
                "token file {}: {error}; make one: (umask 077; openssl rand -hex 32 >{0})",
                path.display()
            ),
            Self::Readable(path, mode) => write!(
                f,
                "token file {}: its mode {mode:04o} lets others use it; chmod 0600 or 0640 it, and if they may have \
                 read it, make a new one",
                path.display()
            ),
            Self::Foreign(path, owner) => write!(
                f,
                "token file {}: it belongs to user {owner}, who can change the token; chown it to root, or to the user \
                 that guideway runs as",
                path.display()
            ),
            Self::Bad(path, what) => {
                write!(
                    f,
                    "token file {}: {what}; make one: (umask 077; openssl rand -hex 32 >{0})",
                    path.display()
                )
            }
        }
    }
}

impl Token {
    /// The first line of the file at `path`, which is root's or our user's, and of no use to others than
    /// these and its group.
    ///
    /// # Errors
    /// When it cannot be read, or is not to be trusted.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let unreadable = |error| TokenError::Unreadable(path.to_owned(), error);
        // To open a pipe would wait for who writes to it.
        if !fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(TokenError::Bad(path.to_owned(), "it is not a regular file"));
        }
        let file = File::open(path).map_err(unreadable)?;
        let about = file.metadata().map_err(unreadable)?;
        // Whoever can write it can choose the token: the group may read, and no more.
        if about.mode() & 0o027 != 0 {
            return Err(TokenError::Readable(path.to_owned(), about.mode() & 0o7777));
        }
        if !is_trusted(about.uid(), nix::unistd::geteuid().as_raw()) {
            return Err(TokenError::Foreign(path.to_owned(), about.uid()));
        }
        let mut text = Vec::new();
        file.take(TOKEN_BYTES_MAX as u64 + 2).read_to_end(&mut text).map_err(unreadable)?;
        let token = text.strip_suffix(b"\n").unwrap_or(&text);
        let token = token.strip_suffix(b"\r").unwrap_or(token);
        let bad = |what| Err(TokenError::Bad(path.to_owned(), what));
        match token.len() {
            ..TOKEN_BYTES_MIN => bad("it has fewer than 16 bytes"),
            TOKEN_BYTES_MAX.. => bad("it has more than 4095 bytes"),
            _ if !token.iter().all(u8::is_ascii_graphic) => {
                bad("it is not one line of printable characters without spaces")
            }
            _ => Ok(Self(token.to_vec())),
        }
    }

    /// Whether `given` is the token; in a time that says nothing of where they differ.
    fn is(&self, given: &[u8]) -> bool {
        self.0.ct_eq(given).into()
    }

    /// As the value of an `Authorization` header.
    pub fn header(&self) -> String {
        format!("Bearer {}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Whether what `owner` says counts with a process of the user `own`.
fn is_trusted(owner: u32, own: u32) -> bool {
    owner == 0 || owner == own
}

/// What a caller over TCP must show.
#[derive(Debug)]
pub(super) struct Access {
    token_file: PathBuf,
    /// Whether only this machine can reach the listener.
    is_loopback: bool,
    warnings: Limited,
}

impl Access {
    pub(super) fn new(address: SocketAddr, token_file: PathBuf) -> Self {
        Self { token_file, is_loopback: address.ip().is_loopback(), warnings: Limited::default() }
    }

    /// Who the caller is, if it may go on. Reads the token anew, so that a new one takes effect at once.
    pub(super) async fn check(&self, head: &HeaderMap, peer: Peer) -> Result<Peer, Refusal> {
        self.is_no_browser(head)?;
        let path = self.token_file.clone();
        // Not on this thread: a file can be slow.
        let token = match tokio::task::spawn_blocking(move || Token::read(&path)).await {
            Ok(Ok(token)) => token,
            Ok(Err(error)) => {
                self.warnings.warn(&error);
                return Err(unauthorized("the token cannot be read; guideway's log says why"));
            }
            Err(_) => return Err(unauthorized("the token cannot be read")),
        };
        let given = head.get(AUTHORIZATION).map(|value| value.as_bytes());
        match given.and_then(bearer) {
            Some(given) if token.is(given) => Ok(match peer {
                Peer::Stranger(address) => Peer::Bearer(address),
                known => known,
            }),
            given => {
                self.warnings.warn(&format_args!("control API: {peer} is refused: no token, or a wrong one"));
                Err(unauthorized(match given {
                    Some(_) => "this is not the token",
                    None => "a token is needed: Authorization: Bearer TOKEN",
                }))
            }
        }
    }

    /// A page in a browser may send requests to this machine, under a name of its own too. It has no token; this is for
    /// the case that a browser comes to know it.
    fn is_no_browser(&self, head: &HeaderMap) -> Result<(), Refusal> {
        let refuse = |why: &str| Err(Refusal::new(StatusCode::FORBIDDEN, why.into()));
        if head.contains_key(ORIGIN) || head.contains_key(HeaderName::from_static("sec-fetch-site")) {
            return refuse("this comes from a web page, which has no business here");
        }
        let host = head.get(HOST).map(|value| value.to_str().unwrap_or_default());
        if self.is_loopback && !host.is_some_and(is_local_name) {
            return refuse("the Host is not this machine's: use 127.0.0.1, [::1] or localhost");
        }
        Ok(())
    }
}

/// A body must say that it is JSON: a web form cannot.
pub(super) fn is_json(head: &HeaderMap) -> Result<(), Refusal> {
    let kind = head.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let what = "a body must be JSON and say so: Content-Type: application/json";
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, what.into()))
}

fn unauthorized(why: &str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, why.into())
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// An address, or `localhost`; whatever the port, which a tunnel may change.
fn is_local_name(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    name.eq_ignore_ascii_case("localhost") || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_one_line_of_16_bytes_or_more_that_others_cannot_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        for (text, mode, flaw) in [
            ("0123456789abcdef\n", 0o600, ""),
            ("0123456789abcdef", 0o640, ""),
            ("0123456789abcdef\r\n", 0o400, ""),
            ("0123456789abcde\n", 0o600, "fewer than 16"),
            ("", 0o600, "fewer than 16"),
            ("0123456789abcdef\nmore", 0o600, "one line"),
            ("0123456789 abcdef\n", 0o600, "one line"),
            ("0123456789abcdef\n", 0o644, "0644 lets others"),
            ("0123456789abcdef\n", 0o602, "0602 lets others"),
            ("0123456789abcdef\n", 0o660, "0660 lets others"),
            (&"x".repeat(4096), 0o600, "more than 4095"),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            match Token::read(&path) {
                Ok(token) => assert!(flaw.is_empty() && token.is(b"0123456789abcdef"), "{text:?}"),
                Err(error) => assert!(!flaw.is_empty() && error.to_string().contains(flaw), "{error}"),
            }
        }
        assert!(matches!(Token::read(directory.path()), Err(TokenError::Bad(..))));
        assert!(matches!(Token::read(&directory.path().join("none")), Err(TokenError::Unreadable(..))));
        assert!(
            is_trusted(0, 1000) && is_trusted(1000, 1000) && !is_trusted(1001, 1000) && !is_trusted(1000, 0)
        );
        fs::write(&path, "0123456789abcdef\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        // Only root can give a file away, and can still read it then.
        if std::os::unix::fs::chown(&path, Some(65_534), None).is_ok() {
            let error = Token::read(&path).unwrap_err();
            assert!(error.to_string().contains("belongs to user 65534"), "{error}");
        }
        let token = Token(b"0123456789abcdef".to_vec());
        assert!(!token.is(b"0123456789abcdeg") && !token.is(b"0123456789abcde") && !token.is(b""));
        assert_eq!(format!("{token:?}"), "Token(..)");
    }

    #[test]
    fn only_this_machine_has_a_local_name() {
        for good in ["127.0.0.1:9465", "127.0.0.1", "[::1]:9465", "[::1]", "localhost", "LOCALHOST:1"] {
            assert!(is_local_name(good), "{good}");
        }
        for bad in
            ["", "evil.example", "evil.example:9465", "localhost.evil.example", "127.0.0.1.nip.io", ":"]
        {
            assert!(!is_local_name(bad), "{bad}");
        }
    }
}
