"""Text-guided masking: what the caption speaks of is hidden, by a similarity that is learned or by CLIP's."""

from __future__ import annotations

import pytest
import tiny
import torch
from einops import rearrange
from torch.nn.functional import normalize
from torch.testing import assert_close

from fusion.masking import Noise
from fusion.masking.random import Random
from fusion.masking.text_guided import TextGuided
from fusion.similarity import Clip, Likeness, Similarity
from mmmae.objectives.contrastive import infonce
from modalities.records import Patches, Signal
from modalities.text import TextTokenizer
from modalities.video import VideoTokenizer

COLOURS = torch.tensor([[230, 30, 30], [30, 230, 30], [30, 30, 230], [230, 230, 30]], dtype=torch.uint8)


class Known(Similarity):
    """Scores that the test has written."""

    def __init__(self, score: torch.Tensor):
        super().__init__()
        self.score = score

    def forward(self, patches: Patches, guide: Patches) -> Likeness:
        return Likeness(self.score)


def cut(batch: int = 3) -> tuple[dict[str, VideoTokenizer | TextTokenizer], dict[str, Patches]]:
    """Tokenizers and the patches of a few clips; the last clip has no caption."""
    recipe = tiny.tiny("tgm")
    tokenizers, signals = recipe.build().tokenizers, dict(recipe.example(batch, seed=0).signals)
    ids = signals["text"].values
    signals["text"] = Signal(ids, length=torch.tensor([*[ids.shape[1]] * (batch - 1), 0]))
    return dict(tokenizers.items()), {name: tokenizers[name].patchify(signal) for name, signal in signals.items()}


def test_exactly_the_best_matches_are_hidden():
    tokenizers, patches = cut()
    b, n = patches["video"].time.shape
    score = torch.rand(b, n, generator=torch.Generator().manual_seed(0))
    masking = TextGuided(tokenizers, ratio=0.75, others=0.4)
    masking.similarity = Known(score)
    noise = Noise(tiny.keys(b))
    plans = masking.plan(patches, noise)
    k = int(0.75 * n)
    assert torch.equal(plans["video"].hidden[:-1], score[:-1].topk(k).indices.sort().values)
    chance = Random(ratio=0.75).plan(patches["video"], noise("mask/video", n))
    assert torch.equal(plans["video"].hidden[-1], chance.hidden[-1])  # nothing is said of it
    others = Random(ratio=0.4).plan(patches["text"], noise("mask/text", patches["text"].time.shape[1]))
    assert torch.equal(plans["text"].hidden, others.hidden)


def painted(batch: int, seed: int) -> tuple[dict[str, Patches], torch.Tensor]:
    """Grey noise with two coloured patches, and a caption, half of it chance, that names the colour of the first."""
    draw = torch.Generator().manual_seed(seed)
    clip = torch.randint(90, 160, (batch, 2, 3, 16, 16), dtype=torch.uint8, generator=draw)
    tiles = rearrange(clip, "b t c (h p) (w q) -> b (h w) t p q c", p=4, q=4).clone()
    rows, place = torch.arange(batch), torch.rand(batch, 16, generator=draw).argsort(1)[:, :2]
    colour = torch.rand(batch, 4, generator=draw).argsort(1)[:, :2]
    for number in range(2):
        tiles[rows, place[:, number]] = COLOURS[colour[:, number]][:, None, None, None]
    clip = rearrange(tiles, "b (h w) t p q c -> b t c (h p) (w q)", h=4)
    ids = torch.stack([torch.randint(4, 9, (batch,), generator=draw), colour[:, 0]], 1)
    video, text = VideoTokenizer(16, patch=4), TextTokenizer(16, words=9)
    return {"video": video.patchify(Signal(clip)), "text": text.patchify(Signal(ids))}, place


def test_it_learns_which_patch_a_caption_speaks_of():
    torch.manual_seed(0)
    tokenizers = {"video": VideoTokenizer(16, patch=4), "text": TextTokenizer(16, words=9)}
    masking = TextGuided(tokenizers, ratio=0.0626, width=32)  # one patch of 16
    optimizer = torch.optim.Adam(masking.parameters(), lr=1e-2)

    def hits() -> tuple[float, float]:
        patches, place = painted(64, seed=1_000)
        hidden = masking.plan(patches, Noise(tiny.keys(64)))["video"].hidden
        named, other = (hidden == place).float().mean(0).tolist()
        return named, other

    assert hits()[0] < 0.5
    for step in range(60):
        patches, _ = painted(32, seed=step)
        plans = masking.plan(patches, Noise(tiny.keys(32)))
        loss = infonce(
            plans["video"].stream_vector, plans["text"].stream_vector, torch.ones(32, dtype=torch.bool), 1 / 0.07
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    named, other = hits()
    assert named > 0.9, f"the patch that is named is hidden in {named:.0%}, the other coloured one in {other:.0%}"


def test_one_step_trains_reconstruction_contrast_and_the_scorer():
    recipe = tiny.tiny("tgm")
    model = recipe.build()
    losses = model(recipe.example(4, seed=0))
    masking = {f"masking.{name}" for name, _ in model.masking.named_parameters()}
    for part, loss in losses.parts.items():
        model.zero_grad()
        loss.backward(retain_graph=True)
        moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        if part.startswith("mask_guidance"):
            assert moved == masking
        else:
            assert not moved & masking
            assert any(name.startswith("trunk.stacks.video") for name in moved), part
            assert any(name.startswith("trunk.stacks.text") for name in moved) == part.startswith("contrastive"), part


def test_a_frozen_text_encoder_is_contrasted_but_not_trained():
    recipe = tiny.tiny("tgm", [f"modalities.text.encoder={tiny.bert()}"])
    model = recipe.build()
    model(recipe.example(4, seed=0)).total.backward()
    text = model.tokenizers["text"]
    assert text.project.weight.grad.any() and all(p.grad is None for p in text.encoder.parameters())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    """A tiny CLIP with random weights that sees 4 x 4 patches of 8 pixels."""
    from transformers import CLIPConfig, CLIPModel

    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    words = {"vocab_size": 50, "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 49, "pad_token_id": 49}
    folder = str(tmp_path_factory.mktemp("clip"))
    torch.manual_seed(0)
    pictures = size | {"image_size": 32, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=size | words, vision_config=pictures, projection_dim=12)).save_pretrained(folder)
    return folder


def judge(folder: str, patch: int, frames: int = 1) -> tuple[Clip, dict[str, Patches], torch.Tensor, torch.Tensor]:
    """CLIP as a scorer, and a clip of 4 frames with a caption that ends early."""
    draw = torch.Generator().manual_seed(0)
    film = torch.randint(0, 256, (2, 4, 3, 32, 32), dtype=torch.uint8, generator=draw)
    ids = torch.tensor([[1, 4, 7, 49, 0, 0], [5, 6, 7, 8, 9, 49]])
    video, text = VideoTokenizer(16, patch=patch), TextTokenizer(16, words=50)
    patches = {
        "video": video.patchify(Signal(film)),
        "text": text.patchify(Signal(ids, length=torch.tensor([4, 6]))),
    }
    return Clip(folder, video, text, frames), patches, film, ids


def test_clip_scores_each_patch_by_its_cosine_with_the_caption(folder):
    from transformers import CLIPModel
    from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

    scorer, patches, film, ids = judge(folder, patch=8, frames=2)
    clip = CLIPModel.from_pretrained(folder).eval()
    mean, std = (torch.tensor(x)[:, None, None] for x in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    cosines = []
    with torch.no_grad():
        for frames, caption, words in zip(film, ids, (4, 6), strict=True):
            caption = caption[:words].expand(4, -1)
            said = clip(input_ids=caption, pixel_values=(frames / 255 - mean) / std)
            seen = clip.vision_model.post_layernorm(said.vision_model_output.last_hidden_state)
            seen = normalize(clip.visual_projection(seen)[:, 1:], dim=-1)  # (frames, 16, 12)
            cosines.append(torch.einsum("fnd,fd->fn", seen, said.text_embeds))
    expected = rearrange(torch.stack(cosines), "b (t p) n -> b t n p", p=2).mean(-1).flatten(1)
    assert_close(scorer(patches["video"], patches["text"]).score, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("patch", [4, 16])
def test_another_grid_than_clips_finds_the_same_place(folder, patch, monkeypatch):
    scorer, patches, _, _ = judge(folder, patch)
    with torch.no_grad():
        heard = normalize(scorer.listen(patches["text"]), dim=-1).repeat_interleave(2, 0)
    looks = torch.zeros(4, 4, 4, 12)
    looks[:, 3, 0] = heard  # what the caption says lies in the lower left corner of CLIP's grid
    monkeypatch.setattr(scorer, "look", lambda pictures: rearrange(looks, "b h w d -> b (h w) d"))
    score = scorer(patches["video"], patches["text"]).score
    grid = patches["video"].grid
    best = patches["video"].coords[score.reshape(2, grid[0], -1)[:, 0].argmax(1)]
    row, column = ((best[:, axis] + 0.5) / grid[axis] for axis in (1, 2))
    assert (row >= 0.75).all() and (column <= 0.25).all()


def test_clip_keeps_its_weights_in_a_model(folder):
    from transformers import CLIPModel

    recipe = tiny.tiny("tgm", [f"masking.scorer={folder}", "objectives.mask_guidance=null"])
    model = recipe.build()
    known = CLIPModel.from_pretrained(folder).state_dict()
    held = model.masking.similarity.clip.state_dict()
    assert all(torch.equal(held[name], weight) for name, weight in known.items())
    model(recipe.example(3, seed=0)).total.backward()
    assert all(p.grad is None for p in model.masking.parameters())
