"""Existing requests and descriptions of jobs as experiment configs."""
