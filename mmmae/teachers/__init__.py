"""Teachers: models without gradient whose representations others learn to predict."""

from mmmae.teachers.teacher import MakeTeacher, Teacher

__all__ = ["MakeTeacher", "Teacher"]
