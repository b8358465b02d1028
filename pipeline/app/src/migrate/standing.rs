//! Which steps a database has, and what that means for this program.

use anyhow::Context as _;
use millstream_schemas::migrations::{MIGRATIONS, Migration, NEWEST};
use sqlx::{PgConnection, Row as _};

use super::checksum;

/// The steps that a database has.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    applied: Vec<Applied>,
}

/// A step on record.
#[derive(Clone, Debug)]
struct Applied {
    number: i32,
    name: String,
    /// `None` if a program applied it that knew no floors: no older program may write then.
    floor: Option<i32>,
    /// `None` in the same case.
    checksum: Option<String>,
}

/// Why this program must not write to a database.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unfit {
    /// A newer program has changed the tables in a way that this one would get wrong.
    #[error(
        "the database has migration {number} ({name}), and a program that writes to it must know migration {floor}; \
         this millstream knows up to {NEWEST}: start a newer one (`millstream psql` works with any)"
    )]
    TooOld {
        /// The step that asks for it.
        number: i32,
        /// Its name.
        name: String,
        /// The newest step that must be known.
        floor: i32,
    },
    /// The step on record is another one than ours of this number.
    #[error(
        "migration {number} ({name}) of the database is not the one that this millstream has: its checksum is {theirs}, \
         not {ours}. Was it made by a build of another branch? If the tables are known to be equal: \
         UPDATE millstream.migration SET checksum = '{ours}' WHERE number = {number}"
    )]
    Other {
        /// Its number.
        number: i32,
        /// Its name in the database.
        name: String,
        /// The checksum on record.
        theirs: String,
        /// That of this program.
        ours: String,
    },
}

/// Reads which steps a database has.
///
/// # Errors
/// When the database does not answer.
pub async fn standing(connection: &mut PgConnection) -> anyhow::Result<Standing> {
    let there: Option<String> =
        sqlx::query_scalar("SELECT to_regclass('millstream.migration')::text").fetch_one(&mut *connection).await?;
    if there.is_none() {
        return Ok(Standing::default());
    }
    let rows = sqlx::query(include_str!("../sql/migration_list.sql"))
        .fetch_all(&mut *connection)
        .await
        .context("read which migrations were applied")?;
    let read = |row: &sqlx::postgres::PgRow| {
        Ok(Applied {
            number: row.try_get("number")?,
            name: row.try_get("name")?,
            floor: row.try_get("floor")?,
            checksum: row.try_get("checksum")?,
        })
    };
    Ok(Standing { applied: rows.iter().map(read).collect::<Result<_, sqlx::Error>>()? })
}

impl Standing {
    /// The steps that it does not have yet.
    #[must_use]
    pub fn pending(&self) -> Vec<&'static Migration> {
        let has = |number| self.applied.iter().any(|applied| applied.number == number);
        MIGRATIONS.iter().filter(|step| !has(step.number)).collect()
    }

    /// Checks whether this program may write.
    ///
    /// # Errors
    /// The reason why it may not.
    pub fn check(&self) -> Result<(), Unfit> {
        for applied in &self.applied {
            let Applied { number, name, floor, checksum: theirs } = applied;
            let floor = floor.unwrap_or(*number);
            if floor > NEWEST {
                return Err(Unfit::TooOld { number: *number, name: name.clone(), floor });
            }
            let known = MIGRATIONS.iter().find(|step| step.number == *number).map(checksum);
            if let (Some(ours), Some(theirs)) = (known, theirs)
                && ours != *theirs
            {
                return Err(Unfit::Other { number: *number, name: name.clone(), theirs: theirs.clone(), ours });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(number: i32, floor: Option<i32>) -> Applied {
        Applied { number, name: "step".to_owned(), floor, checksum: None }
    }

    #[test]
    fn only_a_step_whose_floor_is_not_known_keeps_an_older_program_out() {
        let check = |steps: Vec<Applied>| Standing { applied: steps }.check();
        assert_eq!(check(vec![]), Ok(()));
        assert_eq!(check((1..=NEWEST).map(|number| applied(number, None)).collect()), Ok(()));
        assert_eq!(check(vec![applied(NEWEST + 1, Some(NEWEST))]), Ok(()));
        assert_eq!(check(vec![applied(NEWEST + 3, Some(1))]), Ok(()));
        let refused = |steps| matches!(check(steps), Err(Unfit::TooOld { .. }));
        assert!(refused(vec![applied(NEWEST + 1, Some(NEWEST + 1))]));
        assert!(refused(vec![applied(NEWEST + 1, None)]), "one that knew no floors");
        assert!(refused(vec![applied(NEWEST + 1, Some(NEWEST + 1)), applied(NEWEST + 2, Some(NEWEST))]));
    }

    #[test]
    fn a_step_of_another_branch_is_told_from_ours() {
        let step = MIGRATIONS.first().unwrap();
        let with = |checksum: String| {
            let row = Applied { checksum: Some(checksum), ..applied(step.number, Some(1)) };
            Standing { applied: vec![row] }.check()
        };
        assert_eq!(with(checksum(step)), Ok(()));
        assert!(matches!(with("0".repeat(64)), Err(Unfit::Other { number: 1, .. })));
    }
}
