"""A translator of texts: the parts of the words of two languages, and the network between them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kagglepipe.console import progress
from kagglepipe.course.beam import Hypothesis, search
from kagglepipe.course.lesson import Lesson
from kagglepipe.course.saved import load, save
from kagglepipe.course.translator import Translator
from kagglepipe.sequences.subwords import Subwords, learn_merges
from kagglepipe.sequences.text import END, Ids, Vocabulary, join, of_equal_length, tokens

SIDE_BY_SIDE = 32  # sentences of a search


@dataclass(frozen=True)
class Language:
    """Parts of the words of one language, and their numbers."""

    subwords: Subwords
    vocabulary: Vocabulary

    @classmethod
    def of(cls, texts: Sequence[str], merges: int) -> "Language":
        """Learn from texts."""
        split = [tokens(text) for text in texts]
        subwords = Subwords(learn_merges(Counter(token for each in split for token in each), merges))
        parts = (part for each in split for part in subwords.split(each))
        return cls(subwords, Vocabulary.of(parts, more=(END,)))

    @classmethod
    def load(cls, about: dict[str, Any]) -> "Language":
        """Invert `about`."""
        return cls(Subwords(about["merges"]), Vocabulary(about["symbols"]))

    @property
    def about(self) -> dict[str, Any]:
        """Merges and symbols, for JSON."""
        return {"merges": self.subwords.merges, "symbols": self.vocabulary.symbols}

    @property
    def end(self) -> int:
        """Number of END."""
        return self.vocabulary.index[END]

    def parts(self, text: str) -> list[str]:
        """Split a text."""
        return self.subwords.split(tokens(text))

    def encode(self, text: str) -> Ids:
        """Numbers (N + 1,) of the parts of a text and of END."""
        return self.vocabulary.encode([*self.parts(text), END])

    def decode(self, ids: Sequence[int]) -> str:
        """Text of numbers without END."""
        return join(self.vocabulary.decode(ids))


@dataclass(frozen=True)
class TextTranslator:
    """A network with the languages that it translates from and to."""

    model: Translator
    source: Language
    target: Language

    def pair(self, source: str, target: str) -> tuple[Ids, Ids]:
        """Number a sentence and its translation, as `PairBatches` takes them."""
        ids = self.target.encode(target)
        return self.source.encode(source), np.concatenate([ids[-1:], ids])

    def translate(self, text: str, beam: int) -> tuple[str, Tensor]:
        """Translate a sentence: its translation, and the attention (T, S) of each of its parts to those of the source.

        beam: see `search`. An empty text is translated by an empty one.
        """
        if not text:
            return "", torch.zeros(0, 0)
        ids = torch.from_numpy(self.source.encode(text))[None]
        found = self.search(ids, beam)[0]
        return self.target.decode(found.ids), found.weights

    def translate_all(self, texts: Sequence[str], beam: int) -> list[str]:
        """Translate texts, those of equal length side by side; an empty one stays empty."""
        ids, found = [self.source.encode(one) for one in texts], [""] * len(texts)
        groups = [rows for rows in of_equal_length(list(map(len, ids)), SIDE_BY_SIDE) if texts[rows[0]]]
        for rows in progress(groups, "translation", total=len(groups), unit="batch"):
            hypotheses = self.search(torch.from_numpy(np.stack([ids[row] for row in rows])), beam)
            for row, hypothesis in zip(rows, hypotheses, strict=True):
                found[row] = self.target.decode(hypothesis.ids)
        return found

    def search(self, ids: Tensor, beam: int) -> list[Hypothesis]:
        """Search the translations of sources (B, S) on the network's device."""
        return search(self.model, ids.to(self.model.begin.weight.device), end=self.target.end, beam=beam)

    def save(self, lesson: Lesson, name: str) -> None:
        """Write it into the folder of the lesson, which has this name."""
        about = {"source": self.source.about, "target": self.target.about, "sizes": self.model.sizes}
        save(lesson, name, self.model, about)

    @classmethod
    def load(cls, lesson: Lesson, name: str) -> "TextTranslator":
        """Load what `save` wrote from the folder `course.model`. Raises UserError for that of another lesson."""

        def make(about: dict[str, Any]) -> "tuple[TextTranslator, Translator]":
            languages = [Language.load(about[side]) for side in ("source", "target")]
            model = Translator(*(len(one.vocabulary) for one in languages), **about["sizes"])
            return cls(model.to(lesson.device), *languages), model

        return load(lesson, name, make)


def bleu(translator: TextTranslator, pairs: Sequence[tuple[str, str]], beam: int) -> float:
    """BLEU of translations, from 0 to 100: sacrebleu's 13a, with capitals. Papineni et al. 2002; Post 2018."""
    import sacrebleu

    found = translator.translate_all([source for source, _ in pairs], beam)
    return float(sacrebleu.corpus_bleu(found, [[target for _, target in pairs]]).score)
