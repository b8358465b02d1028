//! New rows as one binary COPY. Format: PostgreSQL documentation, COPY, "Binary Format".

use millstream_postgres::Connection;

use super::columns::{Columns, Span};
use super::error::Fault;
use super::fold::{Folded, description_order, is_shown};

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const FIELDS: i16 = 19;
/// The version byte in front of binary jsonb.
const JSONB_VERSION: u8 = 1;

/// Copies rows in; fails as a whole with a unique violation if any is there already.
pub(super) async fn copy(connection: &mut Connection, columns: &Columns, rows: &[&Folded]) -> Result<(), Fault> {
    if rows.is_empty() {
        return Ok(());
    }
    let bytes = encode(columns, rows);
    let mut copy = connection.copy_in_raw(include_str!("sql/objects_copy.sql")).await.map_err(Fault::data)?;
    let sent = copy.send(bytes).await.map(drop);
    match sent {
        Ok(()) => copy.finish().await.map(drop).map_err(Fault::data),
        Err(error) => Err(Fault::data(error)),
    }
}

fn encode(columns: &Columns, rows: &[&Folded]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.len() * 512);
    out.extend_from_slice(HEADER);
    for one in rows {
        let row = &one.row;
        let description = description_order(row.description.as_ref());
        let (desc_time, desc_seq, desc_hash) = description;
        let shown = is_shown(description, (row.order_time, row.order_seq));
        let unversioned = columns.bytes(row.version).is_empty();
        out.extend_from_slice(&FIELDS.to_be_bytes());
        for number in [row.order_time, row.order_seq, desc_time, desc_seq, desc_hash] {
            field(&mut out, &number.to_be_bytes());
        }
        optional(&mut out, row.size.map(i64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
        field(&mut out, &row.kind.to_be_bytes());
        field(&mut out, &row.order_class.to_be_bytes());
        field(&mut out, &[u8::from(row.kind == 1 && unversioned)]);
        field(&mut out, &[0]);
        field(&mut out, columns.store(row).as_bytes());
        for text in [row.bucket, row.key, row.version, row.etag] {
            field(&mut out, columns.bytes(text));
        }
        let text = |pick: fn(&super::columns::DescriptionRow) -> Option<Span>| {
            row.description.as_ref().and_then(pick).map(|span| columns.bytes(span))
        };
        optional(&mut out, text(|text| text.content_type));
        let metadata = text(|text| text.metadata);
        for json in [metadata.filter(|_| shown), text(|text| text.tags), metadata.filter(|_| !shown)] {
            match json {
                Some(json) => {
                    length(&mut out, json.len() + 1);
                    out.push(JSONB_VERSION);
                    out.extend_from_slice(json);
                }
                None => optional(&mut out, None),
            }
        }
    }
    out.extend_from_slice(&(-1i16).to_be_bytes());
    out
}

fn length(out: &mut Vec<u8>, bytes: usize) {
    // Fields are bounded by the input limits; one that were not is cut short by the server as a protocol error.
    out.extend_from_slice(&i32::try_from(bytes).unwrap_or(i32::MAX).to_be_bytes());
}

fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    length(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => field(out, bytes),
        None => out.extend_from_slice(&(-1i32).to_be_bytes()),
    }
}
