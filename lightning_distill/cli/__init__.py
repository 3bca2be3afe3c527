"""The commands: ``lightning-distill-train``, ``-evaluate``, ``-export`` and ``-report``."""

__all__: list[str] = []
