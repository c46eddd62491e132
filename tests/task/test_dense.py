"""Dense tasks: losses by LibMTL's formulas, labels that are missing pixel by pixel, bad input."""

import math

import pytest
import torch
from torch.nn import functional

from jointrain import InvalidInputError, Task
from jointrain.task import DENSE_KINDS, masked_target, unlabelled_pictures

NAN = math.nan


def picture(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def test_one_missing_pixel_leaves_the_others():
    task = Task.dense("depth", channels_first=True)
    assert task.kind == "depth"
    target = picture(2, 1, 3, 4).abs()
    target[0, 0, 0, 0], target[1] = NAN, NAN
    assert task.labelled(target).tolist() == [True, False]
    assert unlabelled_pictures([task], {"depth": target}) == {"depth": 1}
    output = picture(2, 1, 3, 4, seed=1).requires_grad_()
    loss = task.loss(output, target)
    seen = target[0, 0].flatten()[1:]
    assert loss.item() == pytest.approx((output[0, 0].flatten()[1:] - seen).abs().mean().item())
    loss.backward()
    assert output.grad.isfinite().all()
    assert output.grad[0, 0, 0, 0] == 0
    assert bool((output.grad[1] == 0).all())


def libmtl_losses(output, classes, depth, normals):
    """Return the formulas of LibMTL's examples/nyu/utils.py, on one picture."""
    segmentation = functional.cross_entropy(output["class"], classes.long(), ignore_index=-1)
    mask = (depth.sum(1) != 0).unsqueeze(1)
    of_depth = ((output["depth"] - depth).abs() * mask).sum() / mask.sum()
    mask = (normals.sum(1) != 0).unsqueeze(1)
    unit = output["normals"] / output["normals"].norm(p=2, dim=1, keepdim=True)
    return segmentation, of_depth, 1 - (unit * normals * mask).sum() / mask.sum()


def test_losses_are_those_of_libmtl():
    output = {
        "class": picture(1, 4, 5, 6),
        "depth": picture(1, 1, 5, 6),
        "normals": picture(1, 3, 5, 6),
    }
    classes = torch.randint(-1, 4, (1, 5, 6), generator=torch.Generator().manual_seed(3)).double()
    depth = picture(1, 1, 5, 6, seed=4).clamp_min(0)
    normals = functional.normalize(picture(1, 3, 5, 6, seed=5), dim=1) * (depth > 0)
    tasks = [
        Task.dense("class", classes=4, ignored=(-1,)),
        Task.dense("depth"),
        Task.dense("normals"),
    ]
    wanted = libmtl_losses(output, classes, depth, normals)
    for task, target, loss in zip(tasks, (classes, depth, normals), wanted, strict=True):
        task.check_target(target)
        torch.testing.assert_close(task.loss(output[task.name], target), loss)
        torch.testing.assert_close(task.loss(output[task.name], target, complete=True), loss)
        last = Task.dense(
            task.name,
            classes=task.classes or None,
            ignored=task.ignored,
            channels_first=False,
        )
        moved = target.movedim(1, -1) if target.ndim == 4 else target
        last.check_target(moved)
        torch.testing.assert_close(last.loss(output[task.name].movedim(1, -1), moved), loss)


def test_edges_and_the_rest_count_the_same():
    target = torch.tensor([[[1.0, 0, 0, 0, NAN]]])
    output = torch.tensor([[[[0.3, -0.2, 0.1, 0.5, 9.0]]]])
    losses = functional.binary_cross_entropy_with_logits(
        output[0, 0, 0, :4], target[0, 0, :4], reduction="none"
    )
    wanted = (0.75 * losses[0] + 0.25 * losses[1:].sum()) / 4
    torch.testing.assert_close(Task.dense("edges").loss(output, target), wanted)


def test_numbers_may_be_several():
    task = Task.dense("flow", channels=2)
    target = picture(2, 2, 3, 3)
    target[0, 0, 1, 1] = NAN  # half a label is none
    output = picture(2, 2, 3, 3, seed=1)
    errors = (output - target).abs().mean(1)
    wanted = (errors[0][~errors[0].isnan()].mean() + errors[1].mean()) / 2
    torch.testing.assert_close(task.loss(output, target), wanted)
    assert task.predict(output).shape == (2, 2, 3, 3)
    assert Task.dense("x").predict(output[:, :1]).shape == (2, 3, 3)


@pytest.mark.parametrize("first", [True, False])
def test_pictures_whose_pixels_all_lack_a_channel_count_nowhere(first):
    task = Task.dense("flow", channels=2, channels_first=first)
    output, target = picture(3, 2, 4, 4), picture(3, 2, 4, 4, seed=1)
    target[0, 0] = NAN
    if not first:
        output, target = output.movedim(1, -1), target.movedim(1, -1)
    assert task.labelled(target).tolist() == [False, True, True]
    assert unlabelled_pictures([task], {"flow": target}) == {"flow": 1}
    torch.testing.assert_close(task.loss(output, target), task.loss(output[1:], target[1:]))
    wanted = task.evaluate(task.predict(output[1:]), target[1:])
    assert task.evaluate(task.predict(output), target) == wanted


def test_predictions_are_classes_directions_and_probabilities():
    output = picture(2, 4, 3, 3)
    found = Task.dense("class", classes=4).predict(output)
    assert torch.equal(found.long(), output.argmax(1))
    normals = Task.dense("normals").predict(output[:, :3])
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(2, 3, 3).double())
    edges = Task.dense("edges").predict(output[:, :1])
    torch.testing.assert_close(edges, output[:, 0].sigmoid())


def test_a_mask_makes_labels_missing():
    target, mask = torch.ones(2, 3, 2, 2), torch.tensor([[[True, False], [True, True]]] * 2)
    assert masked_target(target, mask)[:, :, 0, 1].isnan().all()
    assert int(masked_target(target, mask).isnan().sum()) == 6
    assert int(masked_target(target.movedim(1, -1), mask).isnan().sum()) == 6
    assert masked_target(torch.ones(2, 2, 2).long(), mask)[0, 0].tolist() == [1, -100]
    with pytest.raises(
        InvalidInputError, match=r"a mask of shape \[2, 2\] does not fit targets of"
    ):
        masked_target(target, mask[0])


@pytest.mark.parametrize(
    "task, target, message",
    [
        (Task.dense("depth"), torch.ones(2, 3, 4, 4), r"must be \[n, h, w\], got shape \[2, 3, 4"),
        (Task.dense("normals"), torch.ones(2, 4, 4), r"must be \[n, 3, h, w\], got shape"),
        (Task.dense("depth"), -torch.ones(2, 4, 4), "holds -1, but must hold depths above 0"),
        (Task.dense("x"), torch.full((2, 4, 4), math.inf), "must hold finite numbers"),
        (Task.dense("edges"), torch.full((2, 4, 4), 2.0), "must hold numbers from 0 to 1"),
        (
            Task.dense("c", classes=3, ignored=(255,)),
            torch.full((1, 2, 2), 4),
            "holds 4, but must hold class indices from 0 to 2, or one that is ignored",
        ),
    ],
)
def test_targets_that_do_not_fit_are_refused(task, target, message):
    with pytest.raises(InvalidInputError, match=message):
        task.check_target(target)


def test_pictures_of_another_size_are_refused():
    task = Task.dense("depth")
    with pytest.raises(InvalidInputError, match="gives pictures of 2 x 2 pixels, and its targets"):
        task.loss(torch.ones(1, 1, 2, 2), torch.ones(1, 4, 4))
    with pytest.raises(InvalidInputError, match="must give pictures of four dimensions"):
        task.loss(torch.ones(1, 4), torch.ones(1, 4, 4))


@pytest.mark.parametrize(
    "more, message",
    [
        ({"of": "dept"}, "can't be of 'dept'"),
        ({"of": "classes"}, "of classes needs classes="),
        ({"of": "depth", "classes": 3}, "of depth takes no classes"),
        ({"of": "depth", "ignored": (255,)}, "has no classes of pixels; leave `ignored` out"),
        ({"of": "normals", "channels": 2}, "has 3 outputs, not 2"),
    ],
)
def test_what_is_no_dense_task_is_refused(more, message):
    with pytest.raises(InvalidInputError, match=message):
        Task.dense("x", **more)


def test_every_kind_is_made_by_dense():
    made = [Task.dense("x", of) for of in ("numbers", "depth", "normals", "edges")]
    made.append(Task.dense("x", classes=("a", "b")))
    assert {task.kind for task in made} == DENSE_KINDS.keys()


def test_pictures_of_bytes_are_what_they_are_as_floats():
    picture = torch.tensor([[[0, 156, 255]]], dtype=torch.uint8)
    numbers = Task.dense("y", "numbers")
    assert numbers.rules.present(picture).all()
    assert torch.equal(numbers.rules.standard_target(picture), picture.float())
    mask = torch.tensor([[[True, True, False]]])
    assert masked_target(picture, mask).tolist() == [[[0, 156, -100]]]
    edges = torch.tensor([[[True, False]]])
    assert masked_target(edges, torch.tensor([[[False, True]]])).tolist() == [[[-100, 0]]]
    classes = Task.dense("y", classes=3, ignored=(255, -1))
    assert classes.rules.present(picture).tolist() == [[[True, True, False]]]
    codes = torch.tensor([[[0, -1, -2]]], dtype=torch.int8)
    only = Task.dense("y", classes=3, ignored=(255, 254))
    assert only.rules.present(codes).all()
