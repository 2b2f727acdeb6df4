import unittest

from app import page


class Page(unittest.TestCase):
    def test_greets_by_name(self):
        self.assertIn("Good day, Ada!", page("/Ada"))

    def test_escapes_the_name(self):
        self.assertIn("&lt;b&gt;", page("/%3Cb%3E"))


if __name__ == "__main__":
    unittest.main()
