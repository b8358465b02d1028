//! The frame of a binary COPY. Format: PostgreSQL documentation, COPY, "Binary Format".

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The version byte in front of binary jsonb.
const JSONB_VERSION: u8 = 1;

/// Rows of a COPY, as they are added: first [`Frame::row`], then each of its fields.
#[derive(Debug)]
pub(crate) struct Frame(Vec<u8>);

impl Frame {
    /// With room for `bytes`.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        let mut out = Vec::with_capacity(bytes);
        out.extend_from_slice(HEADER);
        Frame(out)
    }

    /// Begins a row.
    pub(crate) fn row(&mut self, fields: i16) {
        self.0.extend_from_slice(&fields.to_be_bytes());
    }

    /// A field in the binary format of its type.
    pub(crate) fn field(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// The same, or null.
    pub(crate) fn optional(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.field(bytes),
            None => self.0.extend_from_slice(&(-1i32).to_be_bytes()),
        }
    }

    /// A document of type jsonb, or null.
    pub(crate) fn json(&mut self, text: Option<&[u8]>) {
        let Some(text) = text else { return self.optional(None) };
        self.length(text.len() + 1);
        self.0.push(JSONB_VERSION);
        self.0.extend_from_slice(text);
    }

    /// All of it, with its end.
    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&(-1i16).to_be_bytes());
        self.0
    }

    fn length(&mut self, bytes: usize) {
        // Input limits bound the fields; the server would reject a longer one as a protocol error.
        self.0.extend_from_slice(&i32::try_from(bytes).unwrap_or(i32::MAX).to_be_bytes());
    }
}
