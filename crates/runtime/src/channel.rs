//! Frames of JSON with descriptors over a Unix stream socket: how caller, helper and container
//! talk. Both ends are the same binary, so the format has no version.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The kernel takes at most 253 descriptors a message.
const DESCRIPTORS_PER_MESSAGE: usize = 64;

/// No honest frame is larger: arguments and environment are limited by the kernel to less.
const LONGEST_FRAME: u32 = 64 << 20;

/// Sends one value with the descriptors that it refers to by index.
pub(crate) fn send<T: Serialize>(socket: &UnixStream, value: &T, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let body = serde_json::to_vec(value)?;
    let length = u32::try_from(body.len()).map_err(|_| too_long())?;
    let count = u32::try_from(descriptors.len()).map_err(|_| too_long())?;
    let mut frame = Vec::with_capacity(body.len() + 8);
    frame.extend(length.to_ne_bytes());
    frame.extend(count.to_ne_bytes());
    if descriptors.is_empty() {
        frame.extend(body);
        return (&mut &*socket).write_all(&frame);
    }
    (&mut &*socket).write_all(&frame)?;
    for chunk in descriptors.chunks(DESCRIPTORS_PER_MESSAGE) {
        send_descriptors(socket, chunk)?;
    }
    (&mut &*socket).write_all(&body)
}

/// Receives one value; `None` when the other side has closed before the frame began.
pub(crate) fn receive<T: DeserializeOwned>(socket: &UnixStream) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut head = [0u8; 8];
    match (&mut &*socket).read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
        Err(error) => return Err(error),
    }
    let [a, b, c, d, e, f, g, h] = head;
    let length = u32::from_ne_bytes([a, b, c, d]);
    let count = u32::from_ne_bytes([e, f, g, h]) as usize;
    if length > LONGEST_FRAME {
        return Err(too_long());
    }
    let mut descriptors = Vec::new();
    while descriptors.len() < count {
        receive_descriptors(socket, &mut descriptors)?;
    }
    let mut body = vec![0u8; length as usize];
    (&mut &*socket).read_exact(&mut body)?;
    Ok(Some((serde_json::from_slice(&body)?, descriptors)))
}

fn send_descriptors(socket: &UnixStream, chunk: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_PER_MESSAGE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(chunk));
    sendmsg(socket, &[IoSlice::new(&[0])], &mut control, SendFlags::empty())?;
    Ok(())
}

fn receive_descriptors(socket: &UnixStream, into: &mut Vec<OwnedFd>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_PER_MESSAGE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0u8];
    let got = recvmsg(socket.as_fd(), &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let before = into.len();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            into.extend(descriptors);
        }
    }
    if got.bytes == 0 || into.len() == before {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn too_long() -> io::Error {
    io::Error::from_raw_os_error(libc::EMSGSIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_arrives_with_its_descriptors_in_order() {
        let (left, right) = UnixStream::pair().unwrap();
        let pipes: Vec<_> = (0..70).map(|_| std::io::pipe().unwrap()).collect();
        let writers: Vec<_> = pipes.iter().map(|(_, writer)| writer.as_fd()).collect();
        let sender = std::thread::scope(|scope| {
            let sending = scope.spawn(|| send(&left, &"x".repeat(300_000), &writers));
            let (text, got): (String, _) = receive(&right).unwrap().unwrap();
            assert_eq!((text.len(), got.len()), (300_000, 70));
            for (index, descriptor) in got.into_iter().enumerate() {
                std::fs::File::from(descriptor).write_all(&[index as u8]).unwrap();
            }
            sending.join().unwrap()
        });
        sender.unwrap();
        for (index, (mut reader, _)) in pipes.into_iter().enumerate() {
            let mut byte = [0u8];
            reader.read_exact(&mut byte).unwrap();
            assert_eq!(usize::from(byte[0]), index);
        }
    }

    #[test]
    fn a_closed_socket_is_the_end_and_no_error() {
        let (left, right) = UnixStream::pair().unwrap();
        drop(left);
        assert!(receive::<String>(&right).unwrap().is_none());
    }
}
