"""The losses as their papers and best known implementations write them: what ours are timed against.

Straightforward on purpose, without care for half precision, extreme logits or memory.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def kd(s: Tensor, t: Tensor, temperature: float = 4.0) -> Tensor:
    p, q = F.log_softmax(s / temperature, 1), F.softmax(t / temperature, 1)
    return F.kl_div(p, q, reduction="batchmean") * temperature**2


def standardized(z: Tensor) -> Tensor:
    return (z - z.mean(1, keepdim=True)) / (1e-7 + z.std(1, keepdim=True))


def lskd(s: Tensor, t: Tensor) -> Tensor:
    return kd(standardized(s), standardized(t), 2.0)


def dkd(s: Tensor, t: Tensor, y: Tensor, alpha: float = 1.0, beta: float = 8.0, temperature: float = 4.0) -> Tensor:
    own = F.one_hot(y, s.shape[1]).bool()
    p, q = F.softmax(s / temperature, 1), F.softmax(t / temperature, 1)

    def two(x: Tensor) -> Tensor:
        return torch.cat([(x * own).sum(1, keepdim=True), (x * ~own).sum(1, keepdim=True)], 1)

    target = F.kl_div(two(p).log(), two(q), reduction="batchmean")
    rest = F.kl_div(
        F.log_softmax(s / temperature - 1000.0 * own, 1),
        F.softmax(t / temperature - 1000.0 * own, 1),
        reduction="batchmean",
    )
    return (alpha * target + beta * rest) * temperature**2


def nkd(s: Tensor, t: Tensor, y: Tensor, gamma: float = 1.5) -> Tensor:
    own = F.one_hot(y, s.shape[1]).bool()
    p, q = F.log_softmax(s, 1), F.softmax(t, 1)
    target = -(q[own] * p[own]).mean()
    others_s, others_t = s[~own].reshape(len(s), -1), t[~own].reshape(len(t), -1)
    return target - gamma * (F.softmax(others_t, 1) * F.log_softmax(others_s, 1)).sum(1).mean()


def wsld(s: Tensor, t: Tensor, y: Tensor, temperature: float = 2.0) -> Tensor:
    soft = -(F.softmax(t / temperature, 1) * F.log_softmax(s / temperature, 1)).sum(1)
    weight = 1 - torch.exp(
        -F.cross_entropy(s, y, reduction="none").detach() / (F.cross_entropy(t, y, reduction="none") + 1e-7)
    )
    return (weight * soft).mean() * temperature**2


def correlation(a: Tensor, b: Tensor) -> Tensor:
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    product: Tensor = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-8)
    return product


def dist(s: Tensor, t: Tensor) -> Tensor:
    p, q = s.softmax(1), t.softmax(1)
    return (1 - correlation(p, q).mean()) + (1 - correlation(p.t(), q.t()).mean())


def mlkd(s: Tensor, t: Tensor) -> Tensor:
    total = s.new_zeros(())
    for temperature in (2.0, 3.0, 4.0, 5.0, 6.0):
        p, q = (s / temperature).softmax(1), (t / temperature).softmax(1)
        total = total + kd(s, t, temperature)
        total = total + ((q @ q.t() - p @ p.t()) ** 2).sum() / s.shape[0]
        total = total + ((q.t() @ q - p.t() @ p) ** 2).sum() / s.shape[1]
    return total


def bce(s: Tensor, t: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(s, t.sigmoid(), reduction="sum") / s.shape[0]


def cosine(s: Tensor, t: Tensor) -> Tensor:
    return (1 - F.cosine_similarity(s, t, 1)).mean()


def mse(s: Tensor, t: Tensor) -> Tensor:
    return ((s - t) ** 2).mean()


def at(s: Tensor, t: Tensor) -> Tensor:
    def attention(f: Tensor) -> Tensor:
        return F.normalize(f.pow(2).mean(1).flatten(1))

    return (attention(s) - attention(t)).pow(2).mean()


def nst(s: Tensor, t: Tensor) -> Tensor:
    s, t = F.normalize(s.flatten(2), dim=2), F.normalize(t.flatten(2), dim=2)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a.unsqueeze(2) * b.unsqueeze(1)).sum(-1).pow(2).mean()

    return kernel(t, t).detach() + kernel(s, s) - 2 * kernel(s, t)


def cwd(s: Tensor, t: Tensor, temperature: float = 4.0) -> Tensor:
    count, channels, height, width = s.shape
    q = F.softmax(t.reshape(-1, height * width) / temperature, 1)
    p = F.log_softmax(s.reshape(-1, height * width) / temperature, 1)
    own = F.log_softmax(t.reshape(-1, height * width) / temperature, 1)
    return (q * (own - p)).sum() * temperature**2 / (count * channels)


def pkd(s: Tensor, t: Tensor) -> Tensor:
    def norm(f: Tensor) -> Tensor:
        f = f.transpose(0, 1).flatten(1)
        return (f - f.mean(1, keepdim=True)) / (f.std(1, keepdim=True) + 1e-6)

    return F.mse_loss(norm(s), norm(t)) / 2


def ickd(s: Tensor, t: Tensor) -> Tensor:
    def relations(f: Tensor) -> Tensor:
        f = f.flatten(2)
        return F.normalize(f @ f.transpose(1, 2), dim=2)

    return (relations(s) - relations(t)).pow(2).mean()


def affinity(s: Tensor, t: Tensor) -> Tensor:
    s, t = F.normalize(s.flatten(2), dim=2), F.normalize(t.flatten(2), dim=2)
    total = s.new_zeros(s.shape[0])
    for i in range(s.shape[1]):
        ours = s[:, i].unsqueeze(2) @ s[:, i].unsqueeze(1)
        theirs = t[:, i].unsqueeze(2) @ t[:, i].unsqueeze(1)
        total = total + ((ours - theirs) / s.shape[2]).norm(p=2, dim=(1, 2))
    return total.mean()


def fsp(s: Tensor, t: Tensor) -> Tensor:
    """Of a layer with itself turned by one channel: stands for two layers of one size."""

    def matrix(f: Tensor) -> Tensor:
        first, second = f.flatten(2).unsqueeze(2), f.roll(1, 1).flatten(2).unsqueeze(1)
        return (first * second).mean(-1)

    return (matrix(s) - matrix(t)).pow(2).mean()


def sp(s: Tensor, t: Tensor) -> Tensor:
    def similarity(f: Tensor) -> Tensor:
        f = f.flatten(1)
        return F.normalize(f @ f.t())

    return (similarity(s) - similarity(t)).pow(2).sum() / len(s) ** 2


def cc(s: Tensor, t: Tensor, gamma: float = 0.4) -> Tensor:
    """A row of the correlations at a time, as torchdistill does."""

    def correlations(f: Tensor) -> Tensor:
        f = F.normalize(f)
        rows = []
        for i in range(len(f)):
            products = f @ f[i]
            series = 1 + 2 * gamma * products + (2 * gamma * products) ** 2 / 2
            rows.append(torch.exp(torch.tensor(-2 * gamma)) * series)
        return torch.stack(rows)

    return (correlations(s) - correlations(t)).pow(2).mean()


def rkd(s: Tensor, t: Tensor) -> Tensor:
    def distances(e: Tensor) -> Tensor:
        square = e.pow(2).sum(1)
        d = (square.unsqueeze(1) + square.unsqueeze(0) - 2 * e @ e.t()).clamp(min=1e-12).sqrt().clone()
        d[range(len(e)), range(len(e))] = 0
        return d / d[d > 0].mean()

    def angles(e: Tensor) -> Tensor:
        n = F.normalize(e.unsqueeze(0) - e.unsqueeze(1), p=2, dim=2)
        return torch.bmm(n, n.transpose(1, 2)).view(-1)

    with torch.no_grad():
        distances_t, angles_t = distances(t), angles(t)
    return F.smooth_l1_loss(distances(s), distances_t) + 2 * F.smooth_l1_loss(angles(s), angles_t)


def pkt(s: Tensor, t: Tensor, eps: float = 1e-7) -> Tensor:
    def probabilities(e: Tensor) -> Tensor:
        e = e / (e.norm(dim=1, keepdim=True) + eps)
        similarity = (e @ e.t() + 1) / 2
        return similarity / similarity.sum(1, keepdim=True)

    p, q = probabilities(s), probabilities(t)
    return (q * ((q + eps) / (p + eps)).log()).mean()


def crd(s: Tensor, t: Tensor, memory_s: Tensor, memory_t: Tensor, ids: Tensor, temperature: float = 0.07) -> Tensor:
    """One direction each way, with normalisers of 1."""
    count, negatives, dim = ids.shape[0], ids.shape[1] - 1, s.shape[1]

    def one(anchors: Tensor, memory: Tensor) -> Tensor:
        rows = memory.index_select(0, ids.view(-1)).view(count, negatives + 1, dim)
        x = torch.exp(torch.bmm(rows, anchors.unsqueeze(2)) / temperature).squeeze(2)
        noise = negatives / len(memory)
        positive = x[:, 0] / (x[:, 0] + noise + 1e-7)
        others = noise / (x[:, 1:] + noise + 1e-7)
        return -(positive.log().sum() + others.log().sum()) / count

    return one(s, memory_t) + one(t, memory_s)


def minilm(s: Tensor, t: Tensor, heads: int = 12) -> Tensor:
    total = s.new_zeros(())
    for ours, theirs in zip(s.chunk(3, -1), t.chunk(3, -1), strict=True):

        def relation(x: Tensor) -> Tensor:
            x = x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)
            scores: Tensor = x @ x.transpose(2, 3) / x.shape[-1] ** 0.5
            return scores

        p, q = F.log_softmax(relation(ours), -1), F.softmax(relation(theirs), -1)
        total = total + F.kl_div(p, q, reduction="none").sum(-1).mean() / 3
    return total


def hint(s: Tensor, t: Tensor) -> Tensor:
    return F.mse_loss(s, t)


def hcl(s: Tensor, t: Tensor) -> Tensor:
    loss, weight, total = F.mse_loss(s, t), 1.0, 1.0
    for level in (4, 2, 1):
        weight /= 2
        total += weight
        loss = loss + weight * F.mse_loss(F.adaptive_avg_pool2d(s, level), F.adaptive_avg_pool2d(t, level))
    return loss / total
