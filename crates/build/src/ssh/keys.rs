//! An agent inside this process, of private keys in files: nothing to start, nothing left behind.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::rsa::{KeyPairComponents, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaEncoding, RsaKeyPair,
};

use super::{KeyProblem, SshAgent, SshError, unreadable, wire};

/// The flags of a request for a signature by RSA; without one SHA-1 is meant, which nobody takes any more.
const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

/// The largest file that is taken for a key, in bytes.
const LARGEST_FILE: u64 = 64 << 10;

/// Private keys, in the order given.
#[derive(Default)]
pub(super) struct Keys(Vec<Key>);

struct Key {
    /// The public key as it goes over the wire.
    public: Vec<u8>,
    comment: String,
    signer: Signer,
}

enum Signer {
    Ed25519(Ed25519KeyPair),
    Ecdsa { name: &'static [u8], pair: EcdsaKeyPair },
    Rsa(RsaKeyPair),
}

impl Keys {
    /// Reads a key.
    pub(super) fn add(&mut self, path: &Path) -> Result<(), SshError> {
        let text = read(path).map_err(|error| unreadable(path, &error))?;
        let key = parse(&text).map_err(|problem| SshError::Key { path: path.to_owned(), problem })?;
        self.0.push(key);
        Ok(())
    }

    fn answer(&self, request: &[u8]) -> Vec<u8> {
        let answer = match request.split_first() {
            Some((&wire::REQUEST_IDENTITIES, [])) => Some(self.identities()),
            Some((&wire::SIGN_REQUEST, fields)) => self.signature(fields),
            _ => None,
        };
        answer.unwrap_or_else(|| vec![wire::FAILURE])
    }

    fn identities(&self) -> Vec<u8> {
        let mut answer = vec![wire::IDENTITIES_ANSWER];
        answer.extend_from_slice(&(self.0.len() as u32).to_be_bytes());
        for key in &self.0 {
            wire::put_string(&mut answer, &key.public);
            wire::put_string(&mut answer, key.comment.as_bytes());
        }
        answer
    }

    fn signature(&self, mut fields: &[u8]) -> Option<Vec<u8>> {
        let public = wire::take_string(&mut fields)?;
        let data = wire::take_string(&mut fields)?;
        let flags = wire::take_number(&mut fields)?;
        let key = self.0.iter().find(|key| key.public == public)?;
        let mut answer = vec![wire::SIGN_RESPONSE];
        wire::put_string(&mut answer, &key.signer.sign(data, flags)?);
        Some(answer)
    }
}

impl SshAgent for Keys {
    fn serve(&self, connection: UnixStream) {
        let mut stream = &connection;
        while let Ok(Some(request)) = wire::read(&mut stream) {
            if wire::write(&mut stream, &self.answer(&request)).is_err() {
                return;
            }
        }
    }
}

impl Signer {
    /// The name of the algorithm and the signature.
    fn sign(&self, data: &[u8], flags: u32) -> Option<Vec<u8>> {
        let mut signature = Vec::new();
        match self {
            Signer::Ed25519(pair) => {
                wire::put_string(&mut signature, b"ssh-ed25519");
                wire::put_string(&mut signature, pair.sign(data).as_ref());
            }
            Signer::Ecdsa { name, pair } => {
                let fixed = pair.sign(&SystemRandom::new(), data).ok()?;
                let (r, s) = fixed.as_ref().split_at(fixed.as_ref().len() / 2);
                let mut integers = Vec::new();
                wire::put_integer(&mut integers, r);
                wire::put_integer(&mut integers, s);
                wire::put_string(&mut signature, name);
                wire::put_string(&mut signature, &integers);
            }
            Signer::Rsa(pair) => {
                let (name, encoding): (&[u8], &'static dyn RsaEncoding) = match flags {
                    RSA_SHA2_512 => (b"rsa-sha2-512", &RSA_PKCS1_SHA512),
                    RSA_SHA2_256 => (b"rsa-sha2-256", &RSA_PKCS1_SHA256),
                    _ => return None,
                };
                let mut signed = vec![0; pair.public().modulus_len()];
                pair.sign(encoding, &SystemRandom::new(), data, &mut signed).ok()?;
                wire::put_string(&mut signature, name);
                wire::put_string(&mut signature, &signed);
            }
        }
        Some(signature)
    }
}

fn read(path: &Path) -> io::Result<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LARGEST_FILE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn parse(text: &str) -> Result<Key, KeyProblem> {
    let header = text.lines().map(str::trim).find_map(|line| line.strip_prefix("-----BEGIN "));
    match header.and_then(|header| header.strip_suffix("PRIVATE KEY-----")) {
        Some("OPENSSH ") => openssh(text),
        Some("RSA ") => pkcs1(text),
        Some("ENCRYPTED ") => Err(KeyProblem::Passphrase),
        Some(_) => Err(KeyProblem::Format),
        None => Err(KeyProblem::NotAKey),
    }
}

/// What a key in OpenSSH's own format begins with.
const MAGIC: &[u8] = b"openssh-key-v1\0";

/// OpenSSH's own format (`PROTOCOL.key`): names of a cipher and its options, the public key, the private one.
fn openssh(text: &str) -> Result<Key, KeyProblem> {
    let bytes = body(text)?;
    let mut rest = bytes.strip_prefix(MAGIC).ok_or(KeyProblem::Damaged)?;
    let mut field = || wire::take_string(&mut rest).ok_or(KeyProblem::Damaged);
    let (cipher, _derivation, _options) = (field()?, field()?, field()?);
    if cipher != b"none" {
        return Err(KeyProblem::Passphrase);
    }
    let count = wire::take_number(&mut rest);
    let public = wire::take_string(&mut rest).ok_or(KeyProblem::Damaged)?;
    let mut private = wire::take_string(&mut rest).ok_or(KeyProblem::Damaged)?;
    let checks = (wire::take_number(&mut private), wire::take_number(&mut private));
    if count != Some(1) || checks.0 != checks.1 {
        return Err(KeyProblem::Damaged);
    }
    let signer = signer(&mut private)?;
    let comment = wire::take_string(&mut private).unwrap_or_default();
    Ok(Key { public: public.to_vec(), comment: String::from_utf8_lossy(comment).into_owned(), signer })
}

/// The fields of a private key, up to its comment.
fn signer(private: &mut &[u8]) -> Result<Signer, KeyProblem> {
    let kind = wire::take_string(private).ok_or(KeyProblem::Damaged)?;
    let signer = match kind {
        b"ssh-ed25519" => ed25519(private),
        b"ecdsa-sha2-nistp256" => ecdsa(private, b"ecdsa-sha2-nistp256", 32, &ECDSA_P256_SHA256_FIXED_SIGNING),
        b"ecdsa-sha2-nistp384" => ecdsa(private, b"ecdsa-sha2-nistp384", 48, &ECDSA_P384_SHA384_FIXED_SIGNING),
        b"ssh-rsa" => rsa(private),
        _ => return Err(KeyProblem::Algorithm),
    };
    signer.ok_or(KeyProblem::Damaged)
}

fn ed25519(fields: &mut &[u8]) -> Option<Signer> {
    let public = wire::take_string(fields)?;
    let (seed, _public) = wire::take_string(fields)?.split_first_chunk::<32>()?;
    Some(Signer::Ed25519(Ed25519KeyPair::from_seed_and_public_key(seed, public).ok()?))
}

fn ecdsa(
    fields: &mut &[u8],
    name: &'static [u8],
    length: usize,
    algorithm: &'static EcdsaSigningAlgorithm,
) -> Option<Signer> {
    let _curve = wire::take_string(fields)?;
    let public = wire::take_string(fields)?;
    let private = digits(wire::take_string(fields)?);
    let padding = length.checked_sub(private.len())?;
    let private: Vec<u8> = std::iter::repeat_n(0, padding).chain(private.iter().copied()).collect();
    let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, &private, public, &SystemRandom::new());
    Some(Signer::Ecdsa { name, pair: pair.ok()? })
}

fn rsa(fields: &mut &[u8]) -> Option<Signer> {
    let mut number = || wire::take_string(fields).map(|field| digits(field).to_vec());
    let (n, e, d, q_inverse, p, q) = (number()?, number()?, number()?, number()?, number()?, number()?);
    let (d_p, d_q) = (remainder(&d, &one_less(&p)), remainder(&d, &one_less(&q)));
    let public_key = PublicKeyComponents { n, e };
    let numbers = KeyPairComponents { public_key, d, p, q, dP: d_p, dQ: d_q, qInv: q_inverse };
    Some(Signer::Rsa(RsaKeyPair::from_components(&numbers).ok()?))
}

/// A number without zeros before it.
fn digits(number: &[u8]) -> &[u8] {
    &number[number.iter().take_while(|&&digit| digit == 0).count()..]
}

/// An odd number less one: a prime's last bit is set.
fn one_less(prime: &[u8]) -> Vec<u8> {
    let mut less = prime.to_vec();
    if let Some(last) = less.last_mut() {
        *last &= !1;
    }
    less
}

/// `number` modulo `modulus`, both big-endian: the two exponents that OpenSSH's format leaves out. Bit by bit, once
/// a key.
fn remainder(number: &[u8], modulus: &[u8]) -> Vec<u8> {
    // One byte more than the modulus, for the bit that doubling adds.
    let modulus: Vec<u8> = std::iter::once(0).chain(modulus.iter().copied()).collect();
    let mut rest = vec![0; modulus.len()];
    for bit in number.iter().flat_map(|byte| (0..8).rev().map(move |place| byte >> place & 1)) {
        let mut carry = bit;
        for digit in rest.iter_mut().rev() {
            (*digit, carry) = (*digit << 1 | carry, *digit >> 7);
        }
        if rest >= modulus {
            let mut borrow = false;
            for (digit, less) in rest.iter_mut().zip(&modulus).rev() {
                let (difference, first) = digit.overflowing_sub(*less);
                let (difference, second) = difference.overflowing_sub(u8::from(borrow));
                (*digit, borrow) = (difference, first || second);
            }
        }
    }
    digits(&rest).to_vec()
}

/// The bytes between the header and the end.
fn body(text: &str) -> Result<Vec<u8>, KeyProblem> {
    let lines = text.lines().map(str::trim).skip_while(|line| !line.starts_with("-----BEGIN")).skip(1);
    let body: String = lines.take_while(|line| !line.starts_with("-----END")).collect();
    if body.contains("ENCRYPTED") {
        return Err(KeyProblem::Passphrase);
    }
    STANDARD.decode(body).map_err(|_| KeyProblem::Damaged)
}

/// `BEGIN RSA PRIVATE KEY`, as older tools write it.
fn pkcs1(text: &str) -> Result<Key, KeyProblem> {
    let der = body(text)?;
    let pair = RsaKeyPair::from_der(&der).map_err(|_| KeyProblem::Damaged)?;
    let numbers: PublicKeyComponents<Vec<u8>> = pair.public().into();
    let mut public = Vec::new();
    wire::put_string(&mut public, b"ssh-rsa");
    wire::put_integer(&mut public, &numbers.e);
    wire::put_integer(&mut public, &numbers.n);
    Ok(Key { public, comment: String::new(), signer: Signer::Rsa(pair) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
        RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
    };
    use std::process::Command;

    /// A key that OpenSSH made, with these arguments of `ssh-keygen`.
    fn keygen(arguments: &[&str]) -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-C", "me@here", "-f"]).arg(&path).args(arguments);
        assert!(command.status().expect("openssh-client is installed").success());
        (directory, path)
    }

    fn keys(path: &Path) -> Result<Keys, SshError> {
        let mut keys = Keys::default();
        keys.add(path).map(|()| keys)
    }

    /// The public key that the agent lists first; it is what OpenSSH wrote beside the key.
    fn listed(keys: &Keys, path: &Path) -> Vec<u8> {
        let answer = keys.answer(&[wire::REQUEST_IDENTITIES]);
        let mut fields = &answer[5..];
        let public = wire::take_string(&mut fields).unwrap().to_vec();
        let written = std::fs::read_to_string(path.with_extension("pub")).unwrap();
        assert_eq!(STANDARD.encode(&public), written.split(' ').nth(1).unwrap());
        public
    }

    /// What the agent signs: the algorithm's name, and the signature.
    fn signed(keys: &Keys, public: &[u8], flags: u32) -> Option<(String, Vec<u8>)> {
        let mut request = vec![wire::SIGN_REQUEST];
        wire::put_string(&mut request, public);
        wire::put_string(&mut request, b"data");
        request.extend_from_slice(&flags.to_be_bytes());
        let answer = keys.answer(&request);
        let mut field = wire::take_string(&mut answer.get(1..)?)?;
        let name = wire::take_string(&mut field)?.to_vec();
        Some((String::from_utf8(name).unwrap(), wire::take_string(&mut field)?.to_vec()))
    }

    #[track_caller]
    fn verify(algorithm: &'static dyn VerificationAlgorithm, public: &[u8], signature: &[u8]) {
        UnparsedPublicKey::new(algorithm, public).verify(b"data", signature).unwrap();
    }

    #[test]
    fn ed25519() {
        let (_directory, path) = keygen(&["-t", "ed25519", "-N", ""]);
        let keys = keys(&path).unwrap();
        let public = listed(&keys, &path);
        let (name, signature) = signed(&keys, &public, 0).unwrap();
        assert_eq!(name, "ssh-ed25519");
        verify(&ED25519, &public[public.len() - 32..], &signature);
        assert_eq!(signed(&keys, b"another key", 0), None);
    }

    #[test]
    fn ecdsa_on_two_curves() {
        let algorithms: [(&str, usize, &'static dyn VerificationAlgorithm); 2] =
            [("256", 32, &ECDSA_P256_SHA256_FIXED), ("384", 48, &ECDSA_P384_SHA384_FIXED)];
        for (bits, length, algorithm) in algorithms {
            let (_directory, path) = keygen(&["-t", "ecdsa", "-b", bits, "-N", ""]);
            let keys = keys(&path).unwrap();
            let public = listed(&keys, &path);
            let (name, signature) = signed(&keys, &public, 0).unwrap();
            assert_eq!(name, format!("ecdsa-sha2-nistp{bits}"));
            let mut integers = &signature[..];
            let mut fixed = Vec::new();
            for _ in 0..2 {
                let integer = wire::take_string(&mut integers).unwrap();
                let digits = &integer[integer.len().saturating_sub(length)..];
                fixed.extend(std::iter::repeat_n(0, length - digits.len()).chain(digits.iter().copied()));
            }
            verify(algorithm, &public[public.len() - 2 * length - 1..], &fixed);
        }
    }

    #[test]
    fn rsa_in_both_formats() {
        for format in ["RFC4716", "PEM"] {
            let (_directory, path) = keygen(&["-t", "rsa", "-b", "2048", "-N", "", "-m", format]);
            let keys = keys(&path).unwrap();
            let public = listed(&keys, &path);
            let mut fields = &public[..];
            let [_, e, n] = [(); 3].map(|()| wire::take_string(&mut fields).unwrap().to_vec());
            let algorithms = [
                (RSA_SHA2_256, "rsa-sha2-256", &RSA_PKCS1_2048_8192_SHA256),
                (RSA_SHA2_512, "rsa-sha2-512", &RSA_PKCS1_2048_8192_SHA512),
            ];
            for (flags, expected, algorithm) in algorithms {
                let (name, signature) = signed(&keys, &public, flags).unwrap();
                assert_eq!(name, expected);
                PublicKeyComponents { n: &n[1..], e: &e[..] }.verify(algorithm, b"data", &signature).unwrap();
            }
            assert_eq!(signed(&keys, &public, 0), None, "SHA-1");
        }
    }

    #[test]
    fn keys_that_cannot_be_used_say_why() {
        let problem = |path: &Path| match keys(path) {
            Err(SshError::Key { problem, .. }) => problem,
            other => panic!("{:?}", other.err()),
        };
        for (arguments, expected) in [
            (&["-t", "ed25519", "-N", "hush!"][..], KeyProblem::Passphrase),
            (&["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "hush!"], KeyProblem::Passphrase),
            (&["-t", "ecdsa", "-b", "521", "-N", ""], KeyProblem::Algorithm),
            (&["-t", "ecdsa", "-m", "PEM", "-N", ""], KeyProblem::Format),
        ] {
            let (_directory, path) = keygen(arguments);
            assert_eq!(problem(&path), expected, "{arguments:?}");
            assert_eq!(problem(&path.with_extension("pub")), KeyProblem::NotAKey);
        }
        assert!(matches!(keys(Path::new("/no/such/key")), Err(SshError::Unreadable { .. })));
    }

    #[test]
    fn nothing_else_is_answered() {
        for request in [&[][..], &[wire::SIGN_REQUEST], &[17, 0, 0], &[wire::REQUEST_IDENTITIES, 1]] {
            assert_eq!(Keys::default().answer(request), [wire::FAILURE]);
        }
    }
}
