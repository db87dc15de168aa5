"""Great Expectations, started once a gate: no analytics, no progress bars, results in one folder of files.

The library costs seconds to import, so it is imported when a gate runs, not when this module is.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

_SITE = "local_site"


def open_context(gx_dir: Path) -> Any:
    """A context whose validation results lie in <gx_dir>/validations and whose site in <gx_dir>/data_docs."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        FilesystemStoreBackendDefaults,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    # Its log repeats every failed expectation, which the gate reports itself.
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    gx_dir.mkdir(parents=True, exist_ok=True)
    files = FilesystemStoreBackendDefaults(root_directory=str(gx_dir))
    defaults = InMemoryStoreBackendDefaults()
    name = files.validation_results_store_name
    defaults.stores[name] = files.stores[name]
    defaults.stores[name]["store_backend"]["base_directory"] = "validations"
    defaults.data_docs_sites = files.data_docs_sites
    defaults.data_docs_sites[_SITE]["store_backend"]["base_directory"] = f"data_docs/{_SITE}"
    config = DataContextConfig(
        store_backend_defaults=defaults,
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
    )
    return gx.get_context(project_config=config, mode="ephemeral")


class Session:
    """Runs expectations on frames within one context, and keeps what they found."""

    def __init__(self, gx_dir: Path) -> None:
        self._context = open_context(gx_dir)
        # One asset for all frames: the library writes its whole configuration out for each one added.
        asset = self._context.data_sources.add_pandas("frames").add_dataframe_asset("frame")
        self._whole = asset.add_batch_definition_whole_dataframe("whole")

    def validate(
        self,
        name: str,
        frame: pd.DataFrame,
        expectations: Sequence[Mapping[str, Any]],
        parameters: Mapping[str, Any],
    ) -> Any:
        """GX's result of the expectations (type, kwargs, severity, meta) on the frame, complete with the
        index of every unexpected row. The i-th expectation's result carries meta {"position": i}."""
        from great_expectations import ExpectationSuite
        from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

        batch = self._whole.get_batch({"dataframe": frame})
        suite = ExpectationSuite(
            name=name,
            expectations=[
                ExpectationConfiguration(
                    type=entry["type"],
                    kwargs=dict(entry["kwargs"]),
                    severity=entry["severity"],
                    meta={**entry["meta"], "position": position},
                ).to_domain_obj()
                for position, entry in enumerate(expectations)
            ],
        )
        return batch.validate(suite, result_format="COMPLETE", expectation_parameters=dict(parameters))

    def keep(self, result: Any, *, suite: str, run: str, as_of: datetime, batch: str) -> None:
        """Store a suite's result in the folder that Data Docs read; the same run is written over."""
        from great_expectations.core.run_identifier import RunIdentifier
        from great_expectations.data_context.types.resource_identifiers import (
            ExpectationSuiteIdentifier,
            ValidationResultIdentifier,
        )

        key = ValidationResultIdentifier(
            ExpectationSuiteIdentifier(suite),
            RunIdentifier(run_name=run, run_time=as_of.replace(tzinfo=UTC)),
            batch,
        )
        self._context.validation_results_store.set(key, result)
