"""The dbt build as one task: Cosmos' operator, in this process, alone with what it writes.

One task instead of one a model: a model a task would start dbt a hundred times a day. The selector comes from
the loop's name, which the loop file's validation restricts; no parameter of a run reaches dbt.
"""

from __future__ import annotations

from typing import Any

from cosmos import ProfileConfig
from cosmos.constants import InvocationMode
from cosmos.operators.local import DbtBuildLocalOperator

from ratchet.settings import load_settings


class DbtBuild(DbtBuildLocalOperator):
    """`dbt build --selector <loop>` through dbt's own runner; fails when a model or a test fails."""

    ui_color = "#ffe3d8"

    @classmethod
    def of(cls, *, loop: str, **kwargs: Any) -> DbtBuild:
        """The operator of `loop`'s build."""
        settings = load_settings()
        return cls(
            project_dir=str(settings.dbt_dir),
            profile_config=ProfileConfig(
                profile_name="ratchet",
                target_name=settings.engine,
                profiles_yml_filepath=settings.dbt_dir / "profiles.yml",
            ),
            invocation_mode=InvocationMode.DBT_RUNNER,
            selector=loop,
            install_deps=False,
            emit_datasets=False,
            append_env=True,
            **kwargs,
        )

    def execute(self, context: Any, **kwargs: Any) -> None:
        """Build while nobody else builds this loop.

        What Cosmos keeps of a run, its rendered `env` among it, holds no secret: the way into the warehouse is
        in this process's environment only.
        """
        from ratchet.stages.dbt_environment import dbt_access, dbt_environment, warehouse_for_dbt

        settings = load_settings()
        self.env = dbt_environment(settings)
        with warehouse_for_dbt(settings, ["build", "--selector", str(self.selector)]), dbt_access(settings):
            super().execute(context, **kwargs)
