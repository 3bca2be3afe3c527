"""Images from the library ``datasets``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_distill.data.hub import evaluable, find_column, load_splits, read_labels
from lightning_distill.data.image_module import ImageDataModule
from lightning_distill.data.images import ImageSource

IMAGE_COLUMNS = ("image", "img", "pixel_values", "picture")


class HubImages:
    """One split's images.

    Args:
        dataset: The split.
        column: Where its images are.
    """

    def __init__(self, dataset: Any, column: str) -> None:
        self.dataset = dataset
        self.column = column

    def __len__(self) -> int:
        return len(self.dataset)

    def load(self, index: int) -> Any:
        return self.dataset[index][self.column]

    def name(self, index: int) -> str:
        return f"row {index} of the split {self.dataset.split or 'train'}, column {self.column!r},"

    def fingerprint(self) -> str:
        """The library's own: a hash of where the data come from and what was done to them."""
        return f"{self.dataset._fingerprint}/{self.column}"


class HuggingFaceImageDataModule(ImageDataModule):
    """Images of a data set of the library ``datasets``, from a folder, files or the hub.

    A validation or test split that is not there, or whose labels are kept secret, is taken from the training images.
    Images without a label (missing or -1) are learned from the teacher alone.

    Args:
        path: A folder that ``save_to_disk`` wrote, a folder of data files (images in class folders, parquet), one such
            file, or a name on the hub.
        name: Of the configuration, where a data set has several.
        image_column: ``image`` or another usual name, if not given.
        label_column: ``label`` or another usual name, if not given.
        revision: Of a data set on the hub.
        cache_dir: Where prepared data are kept; the library's own folder if not given.
        options: Of :class:`~lightning_distill.data.image_module.ImageDataModule`.

    Raises:
        FileNotFoundError: If there is no such data set, with where it was looked for.
        ValueError: If a column is not there.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        image_column: str | None = None,
        label_column: str | None = None,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        **options: Any,
    ) -> None:
        splits = load_splits(path, name, revision, cache_dir)
        features = splits["train"].features
        usual = [column for column, feature in features.items() if type(feature).__name__ == "Image"]
        column = find_column(features, image_column, [*usual, *IMAGE_COLUMNS], "images", "image_column")
        if column not in usual:
            raise ValueError(
                f"Expected the column {column!r} to hold images, but it holds {features[column]}. Columns of images: "
                f"{', '.join(usual) or 'none'}. For text: data=huggingface_text"
            )
        labels, classes, _ = read_labels(splits, label_column)
        sources: dict[str, tuple[ImageSource, Tensor]] = {
            split: (HubImages(splits[split], column), labels[split]) for split in evaluable(splits, labels)
        }
        super().__init__(sources, num_classes=len(classes), class_names=classes, **options)
        self.path = str(path)
