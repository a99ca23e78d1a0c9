"""The reader of the golden packets, under the name that the tests know it by."""

from intswitch.conformance.script import *  # noqa: F403
