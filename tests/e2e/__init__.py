"""Real programs against a real server."""

import pytest

pytest.register_assert_rewrite("tests.e2e.sdk_world")
