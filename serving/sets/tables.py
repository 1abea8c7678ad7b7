"""The tables. Their names begin with the product's, as the database may hold other things too."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from serving.sets.names import MAX_KEY, MAX_LABEL

SCHEMA_VERSION = 1

metadata = MetaData()
_Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only where the type is INTEGER

state = Table(
    "protozoo_state",
    metadata,
    Column("schema_version", Integer, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),  # of the last write; whoever writes holds this row's lock
)

sets = Table(
    "protozoo_sets",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("weights_sha256", String(64), nullable=False),
    Column("dim", Integer, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("classes", BigInteger, nullable=False),
    Column("examples", BigInteger, nullable=False),
    Column("image_bytes", BigInteger, nullable=False),
    Column("created", Double, nullable=False),  # seconds since 1970: SQLite has no time zones
    Column("updated", Double, nullable=False),
)

classes = Table(
    "protozoo_classes",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("set_id", ForeignKey(sets.c.id, ondelete="CASCADE"), nullable=False),
    Column("label", String(MAX_LABEL), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("sum", LargeBinary, nullable=False),  # float64, little-endian
    UniqueConstraint("set_id", "label"),
    sqlite_autoincrement=True,
)

examples = Table(
    "protozoo_examples",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("class_id", ForeignKey(classes.c.id, ondelete="CASCADE"), nullable=False, index=True),
    Column("image_bytes", BigInteger, nullable=False),
    Column("embedding", LargeBinary, nullable=False),  # float32, little-endian
    Column("image", LargeBinary),
    sqlite_autoincrement=True,  # the id of an erased example never means another one
)

answers = Table(
    "protozoo_answers",
    metadata,
    Column("key", String(MAX_KEY), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("created", Double, nullable=False, index=True),
    # What a class is called and where it points stays with the class alone, so that deleting it deletes them.
    Column("class_id", ForeignKey(classes.c.id, ondelete="SET NULL"), index=True),
    Column("version", BigInteger, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("spread", Double, nullable=False),
    Column("example_ids", Text, nullable=False),
)
