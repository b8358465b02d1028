use super::*;

fn view() -> View {
    let reason = "halted: partition 0: position 7627 cannot be read, the stream holds 0 to 7470; \u{1b}[2J\u{9b}31m\r\n\
                  run `millstream positions reset --pipeline objects` \u{202e}世界 and_a_word_without_any_end_at_all_that_no_row_can_hold";
    View {
        title: "millstream demo: uploads -> stream -> PostgreSQL; Ctrl-C drains and leaves".to_owned(),
        figures: vec![
            ("verdict", reason.to_owned()),
            ("events", "200/s (sent 12345)".to_owned()),
            ("so far", "1 written".to_owned()),
        ],
        keys: vec!["keys", "d duplicates", "p poison", "k kill PostgreSQL", "r row by row", "Ctrl-C drain"],
        notes: (0..4).map(|number| format!("note {number} {}", "of many words ".repeat(9))).collect(),
        places: vec![
            "data /x".to_owned(),
            "page http://127.0.0.1:1/".to_owned(),
            "post ".to_owned() + &"x".repeat(330),
        ],
    }
}

/// Rows that a piece takes, and the widest of them.
fn measure(piece: &Piece, columns: usize) -> (usize, usize) {
    match piece {
        Piece::Row(text) => (1, cells(text)),
        Piece::Line(text, rows) => {
            assert!(cells(text) <= rows * columns && cells(text) + columns > rows * columns, "{text}");
            (*rows, 0)
        }
    }
}

#[test]
fn a_frame_fits_every_terminal() {
    for columns in 1..=200 {
        for rows in 1..=60 {
            let pieces = layout(&view(), Size { columns, rows });
            let measured: Vec<_> = pieces.iter().map(|piece| measure(piece, columns)).collect();
            let height = measured.iter().map(|one| one.0).sum::<usize>();
            let width = measured.iter().map(|one| one.1).max();
            assert!(height <= rows && width <= Some(columns), "{columns} x {rows}: {pieces:?}");
            for piece in &pieces {
                let (Piece::Row(text) | Piece::Line(text, _)) = piece;
                assert!(!text.contains(|one: char| one.is_control() || one == '\u{202e}'), "{text:?}");
            }
        }
    }
}

#[test]
fn what_matters_is_on_a_small_screen() {
    for (columns, rows) in [(80, 24), (120, 40), (60, 20), (41, 24)] {
        let pieces = layout(&view(), Size { columns, rows });
        let text: Vec<&str> = pieces
            .iter()
            .map(|piece| match piece {
                Piece::Row(text) | Piece::Line(text, _) => &**text,
            })
            .collect();
        let begins = |word: &str| text.iter().filter(|row| row.trim_start().starts_with(word)).count();
        assert_eq!((begins("verdict"), begins("events"), begins("keys"), begins("note 3")), (1, 1, 1, 1), "{text:#?}");
        assert_eq!(begins("millstream demo"), 1, "{text:#?}");
    }
}

#[test]
fn words_stay_whole_where_they_fit() {
    assert_eq!(wrap("one two three", 8, 0), ["one two", "three"]);
    assert_eq!(wrap("one two three", 7, 1), ["one two", " three"]);
    assert_eq!(wrap("abcdefgh ij", 3, 0), ["abc", "def", "gh", "ij"]);
    assert_eq!(wrap("世界世界", 3, 0), ["世", "界", "世", "界"]);
    assert_eq!(wrap("", 10, 0), Vec::<String>::new());
}

/// A line that is to be copied is written without an end of line in it, over rows that were cleared before.
#[test]
fn a_line_to_paste_stays_one_line() {
    let size = Size { columns: 10, rows: 5 };
    let painted = paint(&[Piece::Row("a".to_owned()), Piece::Line("0123456789abc".to_owned(), 2)], size);
    assert!(painted.contains("\x1b[2;1H\x1b[2K\x1b[3;1H\x1b[2K\x1b[2;1H0123456789abc\x1b[4;1H\x1b[J"), "{painted:?}");
}
