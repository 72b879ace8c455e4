use super::group::{self, Group};
use crate::invocation::Failure;

/// What is to be measured, and how long.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    length: Length,
    groups: Vec<&'static Group>,
    filter: Option<String>,
}

/// How long each figure is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Length {
    #[default]
    Full,
    /// All groups in under six minutes on two cores.
    Quick,
}

impl Wanted {
    /// `--quick`, names of groups, and a filter behind `--filter`.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let mut wanted = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => wanted.length = Length::Quick,
                "--filter" => {
                    let filter = arguments.next();
                    let filter = filter.ok_or_else(|| Failure::new("--filter wants a pattern"))?;
                    wanted.filter = Some(filter.clone());
                }
                name => wanted.groups.push(group::named(name)?),
            }
        }
        if wanted.groups.is_empty() && wanted.filter.is_some() {
            wanted.groups = vec![&group::LAYERS];
        }
        Ok(wanted)
    }

    /// In the order in which they run.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &'static Group> {
        let all = self.groups.is_empty().then_some(group::ALL);
        all.into_iter().flatten().chain(self.groups.iter().copied())
    }

    pub(crate) const fn length(&self) -> Length {
        self.length
    }

    /// A pattern of the user's own for the names of figures.
    pub(crate) fn filter(&self) -> Option<&str> {
        self.filter.as_deref()
    }

    /// Whether the run says all there is to say, as well as it can.
    pub(crate) const fn is_everything_in_full(&self) -> bool {
        matches!(self.length, Length::Full) && self.groups.is_empty() && self.filter.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Wanted, Failure> {
        let arguments: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        Wanted::parse(&arguments)
    }

    #[test]
    fn a_full_run_is_one_without_arguments() {
        let wanted = parse("").expect("nothing to misread");
        assert!(wanted.is_everything_in_full());
        assert_eq!(wanted.groups().count(), group::ALL.len());
        for line in ["--quick", "breaker", "--filter gcra"] {
            let wanted = parse(line).expect("known words");
            assert!(!wanted.is_everything_in_full(), "{line}");
        }
    }

    #[test]
    fn what_is_not_known_is_named() {
        let failure = parse("brekaer").expect_err("there is no such group");
        assert!(failure.to_string().contains("brekaer"), "{failure}");
        parse("--filter").expect_err("nothing to filter by");
    }
}
