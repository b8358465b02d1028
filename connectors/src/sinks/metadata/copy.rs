//! New rows as one binary COPY.

use millstream_postgres::Connection;

use super::columns::Columns;
use super::fold::{Folded, description_order, is_shown};
use crate::sinks::tables::columns::Span;
use crate::sinks::tables::copy::Frame;
use crate::sinks::tables::error::Fault;

const FIELDS: i16 = 19;

/// Copies rows in; fails as a whole with a unique violation if one of them exists.
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
    let mut out = Frame::with_capacity(rows.len() * 512);
    for one in rows {
        let row = &one.row;
        let description = description_order(row.description.as_ref());
        let (desc_time, desc_seq, desc_hash) = description;
        let shown = is_shown(description, (row.order_time, row.order_seq));
        let unversioned = columns.bytes(row.version).is_empty();
        out.row(FIELDS);
        for number in [row.order_time, row.order_seq, desc_time, desc_seq, desc_hash] {
            out.field(&number.to_be_bytes());
        }
        out.optional(row.size.map(i64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
        out.field(&row.kind.to_be_bytes());
        out.field(&row.order_class.to_be_bytes());
        out.field(&[u8::from(row.kind == 1 && unversioned)]);
        out.field(&[0]);
        out.field(columns.store(row).as_bytes());
        for text in [row.bucket, row.key, row.version, row.etag] {
            out.field(columns.bytes(text));
        }
        let text = |pick: fn(&super::columns::DescriptionRow) -> Option<Span>| {
            row.description.as_ref().and_then(pick).map(|span| columns.bytes(span))
        };
        out.optional(text(|text| text.content_type));
        let metadata = text(|text| text.metadata);
        for json in [metadata.filter(|_| shown), text(|text| text.tags), metadata.filter(|_| !shown)] {
            out.json(json);
        }
    }
    out.into_bytes()
}
