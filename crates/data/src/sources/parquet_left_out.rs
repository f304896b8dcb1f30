//! Stand-in for the parquet reader in a build without it: every file is an error that names the feature to build
//! with.

pub(crate) mod file {
    use std::path::Path;

    use crate::DataError;
    use crate::sources::document::DocumentSink;
    use crate::sources::record::Records;

    /// A parquet file, which can't be opened in this build.
    pub(crate) enum ParquetFile {}

    impl ParquetFile {
        /// Always fails, because this build has no parquet reader.
        pub(crate) fn open(path: &Path, _records: Records) -> Result<Self, DataError> {
            let message = "is parquet, which this program was built without: build it with `--features parquet`";
            Err(DataError::content(path, message))
        }

        pub(crate) fn read(
            &self,
            _records: Records,
            _watch: &dyn Fn(u64),
            _each: &mut DocumentSink,
        ) -> Result<(), DataError> {
            match *self {}
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_build_without_parquet_names_the_feature() {
            let opened = ParquetFile::open(Path::new("a.parquet"), Records::default());
            let error = opened
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            assert!(
                error.contains("a.parquet") && error.contains("`--features parquet`"),
                "{error}"
            );
        }
    }
}
