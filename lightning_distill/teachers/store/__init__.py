"""Teacher outputs on disk: written once, mapped into memory, and served only to the run that they belong to."""

from lightning_distill.teachers.store.encoding import Dense, Encoding, TopK
from lightning_distill.teachers.store.header import Field, Header, Identity
from lightning_distill.teachers.store.reader import TeacherStore
from lightning_distill.teachers.store.writer import ShardWriter, open_folder

__all__ = ["Dense", "Encoding", "Field", "Header", "Identity", "ShardWriter", "TeacherStore", "TopK", "open_folder"]
