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
                option if option.starts_with('-') => {
                    let options = "options are `--quick` and `--filter PATTERN`";
                    let problem = format!("there is no option `{option}`; {options}");
                    return Err(Failure::new(problem));
                }
                name => wanted.add(group::named(name)?),
            }
        }
        if wanted.filter.is_some() {
            wanted.check_filtered()?;
        }
        Ok(wanted)
    }

    /// Twice the same group would be twice the same rows.
    fn add(&mut self, group: &'static Group) {
        if !self.groups.iter().any(|it| it.name() == group.name()) {
            self.groups.push(group);
        }
    }

    fn check_filtered(&mut self) -> Result<(), Failure> {
        if self.groups.is_empty() {
            self.groups = vec![&group::LAYERS];
        }
        match self.groups.iter().find(|group| !group.takes_a_filter()) {
            None => Ok(()),
            Some(group) => {
                let problem = format!("the group `{}` cannot be filtered", group.name());
                Err(Failure::new(problem))
            }
        }
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

    /// Whether the run leaves nothing out.
    pub(crate) const fn is_everything(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whether the run says all there is to say, as well as it can.
    pub(crate) const fn is_everything_in_full(&self) -> bool {
        matches!(self.length, Length::Full) && self.is_everything()
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
        for (line, named) in [
            ("brekaer", "group `brekaer`"),
            ("--quik", "option `--quik`"),
            ("--quik", "`--quick`"),
            ("--filter", "--filter"),
            ("load --filter dish", "group `load`"),
        ] {
            let failure = parse(line).expect_err("a mistake").to_string();
            assert!(failure.contains(named), "{failure}");
        }
    }

    #[test]
    fn a_group_runs_once_however_often_it_is_named() {
        let wanted = parse("breaker cache breaker").expect("known words");
        let names: Vec<_> = wanted.groups().map(Group::name).collect();
        assert_eq!(names, ["breaker", "cache"]);
    }
}
