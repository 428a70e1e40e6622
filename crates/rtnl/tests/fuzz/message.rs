//! A request as a tree, so that mutations know where its parts are.

/// An attribute.
#[derive(Clone, Debug)]
pub(crate) struct Attr {
    pub(crate) ty: u16,
    pub(crate) value: Value,
}

/// What is in it.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Bytes(Vec<u8>),
    /// A fixed part, then attributes: the fixed part is empty but for the peer of a veth and the like.
    Nest(Vec<u8>, Vec<Attr>),
    /// Nexthops of a multipath route: each a fixed part whose first two bytes are the length of all of it.
    Records(Vec<(Vec<u8>, Vec<Attr>)>),
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) ty: u16,
    pub(crate) flags: u16,
    pub(crate) header: Vec<u8>,
    pub(crate) attrs: Vec<Attr>,
}

impl Attr {
    pub(crate) fn bytes(ty: u16, bytes: impl Into<Vec<u8>>) -> Self {
        Self { ty, value: Value::Bytes(bytes.into()) }
    }

    pub(crate) fn u8(ty: u16, value: u8) -> Self {
        Self::bytes(ty, [value])
    }

    pub(crate) fn u16(ty: u16, value: u16) -> Self {
        Self::bytes(ty, value.to_ne_bytes())
    }

    pub(crate) fn u32(ty: u16, value: u32) -> Self {
        Self::bytes(ty, value.to_ne_bytes())
    }

    pub(crate) fn str(ty: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        Self::bytes(ty, bytes)
    }

    pub(crate) fn nest(ty: u16, attrs: Vec<Self>) -> Self {
        Self { ty, value: Value::Nest(Vec::new(), attrs) }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([0; 2]);
        out.extend(self.ty.to_ne_bytes());
        match &self.value {
            Value::Bytes(bytes) => out.extend(bytes),
            Value::Nest(fixed, attrs) => {
                out.extend(fixed);
                write_all(attrs, out);
            }
            Value::Records(records) => {
                for (fixed, attrs) in records {
                    let at = out.len();
                    out.extend(fixed);
                    write_all(attrs, out);
                    let len = (out.len() - at) as u16;
                    out[at..at + 2].copy_from_slice(&len.to_ne_bytes());
                }
            }
        }
        let len = (out.len() - start).min(usize::from(u16::MAX)) as u16;
        out[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        pad(out);
    }
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

fn write_all(attrs: &[Attr], out: &mut Vec<u8>) {
    for attr in attrs {
        attr.write(out);
    }
}

impl Message {
    /// Appends its bytes to a datagram.
    pub(crate) fn write(&self, seq: u32, out: &mut Vec<u8>) {
        pad(out);
        let start = out.len();
        out.extend([0; 4]);
        out.extend(self.ty.to_ne_bytes());
        out.extend(self.flags.to_ne_bytes());
        out.extend(seq.to_ne_bytes());
        out.extend([0; 4]);
        out.extend(&self.header);
        pad(out);
        write_all(&self.attrs, out);
        let len = (out.len() - start) as u32;
        out[start..start + 4].copy_from_slice(&len.to_ne_bytes());
    }
}
